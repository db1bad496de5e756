"""A drop-in for ``optimizer.py`` of InternVL and InternImage.

Change the import and nothing else. Every parameter gets what the published code gives it, quirks included (see
the rule ``internvl_reference``), unless the config says ``TRAIN.OPTIMIZER.REFERENCE_QUIRKS: False``; where the
documented behaviour would differ, that is logged as a warning. Frozen parameters are in no group, and equal
settings share one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from optimbuild.build.build import apply_to_model, build_planned
from optimbuild.build.torch_groups import parameter_groups
from optimbuild.config import read_config
from optimbuild.config.read import read_raw
from optimbuild.errors import ConfigError
from optimbuild.model.keywords import keyword_in
from optimbuild.model.survey import survey
from optimbuild.plan.make import plan_of_reading

log = logging.getLogger(__name__)

KEYS = ("params", "lr", "weight_decay", "param_names")
"""What a group holds."""


def build_optimizer(config: Any, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that a yacs config describes, as the published code does.

    Args:
        config: A ``CfgNode`` with ``TRAIN``, or anything that :func:`optimbuild.build_optimizer` takes.
        model: A module that may offer ``no_weight_decay()``, ``no_weight_decay_keywords()`` and
            ``lr_decay_keywords(ratio)``.

    Raises:
        ConfigError: The config is wrong; the published code returned None for an unknown optimizer.
        ModelError: A hook of the model raised.

    >>> from optimbuild.config.dialects.yacs import defaults
    >>> type(build_optimizer(defaults(), nn.Linear(2, 2))).__name__
    'AdamW'
    """
    reading = read_config(_with_quirks(read_raw(config)))
    surveyed = survey(model)
    plan = plan_of_reading(reading, surveyed.inventory)
    for warning in plan.warnings:
        log.warning(warning)
    return build_planned(plan, surveyed)


def _with_quirks(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    node = raw.get("TRAIN")
    optimizer = node.get("OPTIMIZER", {}) if isinstance(node, Mapping) else None
    if not isinstance(optimizer, Mapping):
        return raw
    return {**raw, "TRAIN": {**(node or {}), "OPTIMIZER": {"REFERENCE_QUIRKS": True, **optimizer}}}


def set_weight_decay_and_lr(
    model: nn.Module,
    weight_decay: float,
    base_lr: float,
    skip_list: Collection[str] = (),
    skip_keywords: Iterable[str] = (),
    lr_layer_decay: bool | None = None,
    lr_layer_decay_ratio: float | None = None,
    freeze_backbone: Sequence[int] | None = None,
    dcn_lr_mul: float | None = None,
    layerwise_lr: bool = True,
) -> list[dict[str, Any]]:
    """Return parameter groups that any optimizer, or DeepSpeed, takes; freezes what ``freeze_backbone`` names.

    Args:
        model: The module.
        weight_decay: Weight decay of everything that is neither a vector, nor a bias, nor skipped.
        base_lr: Learning rate of the layers at the top.
        skip_list: Names without weight decay.
        skip_keywords: Pieces of names without weight decay.
        lr_layer_decay: Ask the model's ``lr_decay_keywords(ratio)`` for LR factors.
        lr_layer_decay_ratio: Its ratio.
        freeze_backbone: Levels to freeze: names that contain ``levels.i``.
        dcn_lr_mul: LR factor of deformable convolutions; as published it counts with ``lr_layer_decay`` only.
        layerwise_lr: Log the learning rate of every parameter, as the published code prints it.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``param_names``, one per distinct setting.

    Raises:
        ConfigError: A value is wrong.
        ModelError: The model has no ``lr_decay_keywords``, or a hook raised.

    >>> groups = set_weight_decay_and_lr(nn.Linear(2, 2), 0.05, 0.1)
    >>> [(group["param_names"], group["lr"], group["weight_decay"]) for group in groups]
    [(['weight'], 0.1, 0.05), (['bias'], 0.1, 0.0)]
    """
    rules = [_reference(skip_list or (), skip_keywords or (), freeze_backbone or ())]
    if lr_layer_decay:
        rules = _with_layer_decay(rules[0], lr_layer_decay_ratio, dcn_lr_mul)
    options = {"type": "sgd", "lr": base_lr, "weight_decay": weight_decay}
    surveyed = survey(model)
    plan = plan_of_reading(read_config({"optimizer": options, "rules": rules}), surveyed.inventory)
    groups = [{key: group[key] for key in KEYS} for group in parameter_groups(plan, surveyed)]
    apply_to_model(plan, surveyed)
    if layerwise_lr:
        for decision in plan:
            log.info("%s: lr %s, weight decay %s", decision.name, decision.lr, decision.weight_decay)
    return groups


def _reference(names: Iterable[str], keywords: Iterable[str], levels: Iterable[int]) -> dict[str, Any]:
    rule = {"type": "internvl_reference", "no_decay_names": sorted(names), "no_decay_keywords": list(keywords)}
    return {**rule, "freeze_levels": list(levels)}


def _with_layer_decay(reference: dict[str, Any], ratio: float | None, dcn_lr_mul: float | None) -> list[dict[str, Any]]:
    if ratio is None:
        raise ConfigError("layer decay needs a ratio, such as 0.9", "lr_layer_decay_ratio")
    dcn_lr = [] if dcn_lr_mul is None else [{"type": "dcn_lr", "factor": dcn_lr_mul, "optional": True}]
    return [{**reference, "layer_decay_ratio": ratio}, *dcn_lr]


def check_keywords_in_name(name: str, keywords: Iterable[str] = ()) -> bool:
    """Say whether any keyword is a piece of the name.

    >>> check_keywords_in_name("blocks.0.ls1.gamma", ("gamma", "beta"))
    True
    """
    return keyword_in(name, keywords) is not None


def check_keywords_in_dict(name: str, keywords_dict: Mapping[str, float]) -> float | None:
    """Return the value of the first keyword that is a piece of the name, or None.

    >>> check_keywords_in_dict("blocks.1.weight", {"blocks.0.": 0.81, "blocks.1.": 0.9})
    0.9
    """
    keyword = keyword_in(name, keywords_dict)
    return None if keyword is None else keywords_dict[keyword]
