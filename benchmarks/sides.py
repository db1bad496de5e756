"""The sides of the comparisons: how else people build an optimizer for a model."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from optimbuild.build.torch_groups import parameter_groups
from optimbuild.config import read_config
from optimbuild.model.survey import survey
from optimbuild.plan.make import plan_of_reading

LR, WEIGHT_DECAY = 1e-3, 0.05

OURS = "optimbuild"
PUBLISHED = "one group per tensor"
MMENGINE = "MMEngine"
FLOOR = "one single group"
TIMM = "timm"
DETECTRON2 = "detectron2"

NO_DECAY = {"type": "no_decay"}


def config(*rules: Mapping[str, Any], kind: str = "adamw", **more: Any) -> dict[str, Any]:
    """Return a config of ours with these rules."""
    return {"optimizer": {"type": kind, "lr": LR, "weight_decay": WEIGHT_DECAY}, "rules": list(rules), **more}


def published(model: nn.Module, ratio: float | None = None, dcn_factor: float | None = None) -> torch.optim.Optimizer:
    """Build as the published code of InternVL and InternImage does: one group per tensor, torch's default step.

    It asks the model for its LR factors once for every tensor, and takes the first keyword that is part of the name.
    What that code prints for every tensor is left out.
    """
    spared: Any = getattr(model, "no_weight_decay", set)()
    keywords: Any = getattr(model, "no_weight_decay_keywords", list)()
    groups = []
    for name, tensor in model.named_parameters():
        if not tensor.requires_grad:
            continue
        lr = LR
        if ratio is not None:
            factors: Any = model.lr_decay_keywords(ratio)  # type: ignore[operator]
            lr *= next((factor for keyword, factor in factors.items() if keyword in name), 1.0)
            if dcn_factor is not None and any(
                keyword in name
                for keyword in ("offset", "attention_weights", "center_feature_scale_proj", "alpha_beta")
            ):
                lr *= dcn_factor
        bare = tensor.dim() == 1 or name.endswith(".bias") or name in spared or any(k in name for k in keywords)
        groups.append({"params": [tensor], "lr": lr, "weight_decay": 0.0 if bare else WEIGHT_DECAY, "name": name})
    return torch.optim.AdamW(groups, lr=LR, weight_decay=WEIGHT_DECAY)


def mmengine(model: nn.Module) -> torch.optim.Optimizer:
    """Build with MMEngine's default constructor, no weight decay for norms and biases; its own log is muted."""
    from mmengine.optim import DefaultOptimWrapperConstructor

    wrapper = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": LR, "weight_decay": WEIGHT_DECAY}}
    paramwise = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0, "bypass_duplicate": True}
    build: Callable[[nn.Module], Any] = DefaultOptimWrapperConstructor(wrapper, paramwise)
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        optimizer: torch.optim.Optimizer = build(model).optimizer
    finally:
        logging.disable(disabled)
    return optimizer


def floor(model: nn.Module, implementation: str = "fused") -> torch.optim.Optimizer:
    """Build the least that torch can: all tensors in one group, with the given implementation."""
    switch = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for-loop": {"foreach": False}}[implementation]
    return torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, **switch)  # type: ignore[arg-type]


def timm_groups() -> Callable[[nn.Module], list[dict[str, Any]]]:
    """Return timm's grouping: weight decay, or none for vectors and biases.

    Raises:
        ImportError: timm cannot be imported here; says why.
    """
    group = _function("timm.optim", "param_groups_weight_decay")
    return lambda model: group(model, WEIGHT_DECAY)


def detectron2_groups() -> Callable[[nn.Module], list[dict[str, Any]]]:
    """Return detectron2's grouping, no weight decay for norms and biases.

    Raises:
        ImportError: detectron2 cannot be imported here; says why.
    """
    group = _function("detectron2.solver.build", "get_default_optimizer_params")
    options = {"base_lr": LR, "weight_decay": WEIGHT_DECAY, "weight_decay_norm": 0.0, "weight_decay_bias": 0.0}
    return lambda model: group(model, **options)


def _function(module: str, name: str) -> Callable[..., Any]:
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except Exception as error:  # a package that is half installed raises anything
        raise ImportError(f"{module.partition('.')[0]} cannot be imported: {type(error).__name__}: {error}") from error


def group_count(optimizer: torch.optim.Optimizer) -> int:
    """Return how many parameter groups an optimizer has."""
    return len(optimizer.param_groups)


def our_groups(config: Mapping[str, Any], model: nn.Module) -> list[dict[str, Any]]:
    """Return our groups, without the optimizer."""
    surveyed = survey(model)
    return parameter_groups(plan_of_reading(read_config(config), surveyed.inventory), surveyed)
