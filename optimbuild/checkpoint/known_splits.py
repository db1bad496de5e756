"""The ways in which well-known code splits a model's parameters into groups, each group in model order.

Saved groups without names are compared with them. Sources: Hugging Face ``Trainer.get_decay_parameter_names``, timm
``param_groups_weight_decay``, nanoGPT ``configure_optimizers``, DINO ``get_params_groups``, detectron2
``get_default_optimizer_params``; accelerate, fairseq and Lightning keep the groups that their user made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.plan import Plan


@dataclass(frozen=True)
class Split:
    """One way to split parameters.

    Args:
        called: Whose it is, in words.
        groups: The names of each group.
        shapes: The shape of each parameter.
        decays: For each group whether its author gives it weight decay; None where that is not known.
    """

    called: str
    groups: tuple[tuple[str, ...], ...]
    shapes: Mapping[str, tuple[int, ...]]
    decays: tuple[bool | None, ...]


_TRAINER = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def _trainer(param: ParamInfo) -> bool:
    return _TRAINER.search(param.name.lower()) is None and not _in_layer_norm(param)


def _older_trainer(param: ParamInfo) -> bool:
    return "bias" not in param.name and not _in_layer_norm(param)


def _in_layer_norm(param: ParamInfo) -> bool:
    return param.owner == "LayerNorm" or "LayerNorm" in param.bases


def _matrix(param: ParamInfo) -> bool:
    return len(param.shape) >= 2


def _matrix_but_bias(param: ParamInfo) -> bool:
    return len(param.shape) >= 2 and not param.name.endswith(".bias")


def _no_norm(param: ParamInfo) -> bool:
    return "norm" not in param.kinds


DECAYS: tuple[tuple[str, Callable[[ParamInfo], bool]], ...] = (
    ("Hugging Face's Trainer", _trainer),
    ("an older Trainer of Hugging Face", _older_trainer),
    ("matrices and vectors, as nanoGPT", _matrix),
    ("matrices and vectors, as timm", _matrix_but_bias),
    ("norms apart, as detectron2", _no_norm),
)
"""Who gives weight decay to which parameters."""


def known_splits(plan: Plan | None, names: Sequence[str]) -> Iterator[Split]:
    """Yield the known splits of some of a model's parameters, and that of the plan itself; none without a plan.

    Args:
        plan: The plan, whose inventory describes the parameters.
        names: The parameters that were in the optimizer, in model order.
    """
    if plan is None:
        return
    params = [plan.inventory[name] for name in names]
    for called, decays in DECAYS:
        yield from _both_ways(called, params, decays)
    listed = _listed(plan.inventory)
    if listed:
        yield from _both_ways(
            "timm's no_weight_decay()", params, lambda p: _matrix_but_bias(p) and p.name not in listed
        )
    groups: dict[Any, list[str]] = {}
    for name in names:
        groups.setdefault(plan[name].group, []).append(name)
    shapes = {param.name: param.shape for param in params}
    yield Split("the groups of the plan", tuple(map(tuple, groups.values())), shapes, (None,) * len(groups))


def _both_ways(called: str, params: Sequence[ParamInfo], decays: Callable[[ParamInfo], bool]) -> Iterator[Split]:
    shapes = {param.name: param.shape for param in params}
    first = tuple([param.name for param in params if decays(param)])
    second = tuple([param.name for param in params if not decays(param)])
    if first and second:
        yield Split(called, (first, second), shapes, (True, False))
        yield Split(called, (second, first), shapes, (False, True))


def _listed(inventory: Inventory) -> frozenset[str]:
    """Return what the model's ``no_weight_decay()`` lists, as far as a rule has asked it already."""
    answer: Any = inventory.hints.recorded().answers.get("no_weight_decay")
    return frozenset(answer) if isinstance(answer, (list, tuple, set, frozenset)) else frozenset()
