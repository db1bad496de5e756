"""Counters that an optimizer keeps in its groups: state, although it stands among the options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.constructor import constructor_arguments, is_torchs, option_names
from optimbuild.checkpoint.group_options import ABSENT, IMPLEMENTATION, NO_OPTIONS
from optimbuild.plan.state_probe import group_after_step


def counters_of(optimizer: Optimizer) -> frozenset[str]:
    """Return the keys of groups that are state: no options of the class, and made by its constructor or by a step.

    Such are the step that timm's optimizers count, the distance that Prodigy estimates (``d``), and the sum of
    weights of schedule-free optimizers.

    >>> import torch
    >>> counters_of(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]))
    frozenset()
    """
    if not optimizer.param_groups or is_torchs(type(optimizer)):
        return frozenset()
    cls: Any = type(optimizer)
    options = option_names(cls)
    constructed = frozenset() if options is None else optimizer.defaults.keys() - options
    made_by_step = _after_step(optimizer).keys() - optimizer.defaults.keys()
    return frozenset(made_by_step | constructed) - NO_OPTIONS - IMPLEMENTATION


def tensor_counters(optimizer: Optimizer) -> dict[str, torch.dtype]:
    """Return the dtypes of the counters that a step makes as tensors, as that of optimi's AdamW does."""
    counters = counters_of(optimizer)
    made = _after_step(optimizer) if counters else {}
    return {key: made[key].dtype for key in counters if isinstance(made.get(key), torch.Tensor)}


def _after_step(optimizer: Optimizer) -> Mapping[str, Any]:
    """Return a group of the optimizer's class as a step leaves it; nothing where that cannot be found out."""
    group = {key: value for key, value in optimizer.param_groups[0].items() if key in optimizer.defaults}
    arguments = constructor_arguments(optimizer, group)
    if arguments is None:
        return {}
    try:
        return group_after_step(type(optimizer), {}, arguments)
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return {}


def counters_at_start(optimizer: Optimizer) -> dict[str, Any]:
    """Return the counters that a group of a fresh optimizer has, as far as this one's may have others."""
    start = {key: optimizer.defaults.get(key, ABSENT) for key in counters_of(optimizer)}
    if optimizer.state:
        return start
    return {key: value for key, value in start.items() if value is ABSENT}
