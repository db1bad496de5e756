"""The options of parameter groups: which of them are saved, and how they are set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from optimbuild.errors import CheckpointError
from optimbuild.messages import shown

NO_OPTIONS = frozenset(("params", "param_names", "name", "param_name"))
"""The keys of a group that are about its parameters."""

IMPLEMENTATION = frozenset(("fused", "foreach", "capturable", "differentiable"))
"""Options that choose how a step is computed. They belong to the run, and not to the state."""

PLAIN = frozenset((bool, int, float, str, type(None)))
"""The types of plain values. Tuples of plain values are plain too."""

SCHEDULES = frozenset(("max_lr", "min_lr", "base_momentum", "max_momentum"))
"""What torch's LR schedulers write into a group, beside ``initial_lr`` and the like."""

INITIAL = "initial_"
"""The prefix under which schedulers keep the value that they started from."""


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group as plain values; a tensor with one element becomes a number.

    Raises:
        CheckpointError: The group is no mapping.

    >>> options_of({"params": [0], "param_names": ["w"], "lr": torch.tensor(0.5), "betas": [0.9, 0.99], "fused": True})
    {'lr': 0.5, 'betas': (0.9, 0.99)}
    """
    if not isinstance(group, Mapping):
        raise CheckpointError(f"the options of a parameter must be a mapping, not {shown(group)}")
    options = {}
    for key, value in group.items():
        if key in NO_OPTIONS or key in IMPLEMENTATION or not isinstance(key, str):
            continue
        option = value if type(value) in PLAIN else plain_option(value)
        if _is_plain(option):  # saved state holds no foreign objects
            options[key] = option
    return options


def plain_option(value: Any) -> Any:
    """Return tensors of one element and numpy's numbers as numbers, and lists as tuples.

    >>> plain_option([np.float32(0.5), np.int64(3), torch.tensor([True])])
    (0.5, 3, True)
    """
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, (np.generic, np.ndarray)) and value.size == 1:
        return value.item()
    if isinstance(value, (list, tuple)):
        return tuple([plain_option(item) for item in value])
    return float(value) if isinstance(value, float) else value


def _is_plain(value: Any) -> bool:
    return type(value) in PLAIN or (isinstance(value, tuple) and all(map(_is_plain, value)))


ABSENT = object()
"""Stands for the value of an option that a group shall not have."""


def set_options(group: dict[str, Any], update: Mapping[str, Any]) -> None:
    """Set the options of a group. An LR that is a tensor stays the same tensor, for graphs that captured it."""
    for key, value in update.items():
        current = group.get(key)
        if value is ABSENT:
            group.pop(key, None)
        elif isinstance(current, torch.Tensor):
            current.fill_(value)
        else:
            group[key] = list(value) if isinstance(current, list) else value
