"""What an optimizer keeps for a parameter: the keys of its state, and the kind of value under each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.group_options import NO_OPTIONS
from optimbuild.plan.state_probe import state_after_step


@dataclass(frozen=True)
class StateEntry:
    """One value that an optimizer keeps for a parameter.

    Args:
        kind: ``like``: a tensor of the parameter's shape; ``scalar``: a tensor without dimensions;
            ``number``: a plain number; ``other``: a tensor of another shape.
        dtype: The dtype of the tensor; None for a number.
        device: The device of the tensor; None for a number.
    """

    kind: str
    dtype: torch.dtype | None = None
    device: torch.device | None = None


INDIFFERENT: Mapping[str, float] = {"lr": 1e-3, "weight_decay": 0.0}
"""Options that differ from group to group and do not decide what is kept; the probe takes these values."""


def expected_state(
    optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor
) -> Mapping[str, StateEntry] | None:
    """Return what an optimizer keeps for a parameter after a step, or None where that cannot be found out.

    Args:
        optimizer: The optimizer.
        group: The parameter's group, for the options that decide it (``amsgrad``, ``momentum``, ``fused``).
        param: The parameter.

    >>> weight = torch.nn.Parameter(torch.zeros(4, 3))
    >>> optimizer = torch.optim.AdamW([weight])
    >>> {key: entry.kind for key, entry in expected_state(optimizer, optimizer.param_groups[0], weight).items()}
    {'step': 'scalar', 'exp_avg': 'like', 'exp_avg_sq': 'like'}
    """
    known = optimizer.defaults.keys() - NO_OPTIONS
    given = {key: INDIFFERENT.get(key, value) for key, value in group.items() if key in known}
    tensor = (param.ndim, param.dtype, param.device)
    try:
        return _expected(cast(Any, type(optimizer)), tuple(given.items()), *tensor)
    except TypeError:  # an option that has no hash, such as a list
        return _expected.__wrapped__(type(optimizer), tuple(given.items()), *tensor)


@lru_cache(maxsize=1024)
def _expected(
    cls: type[Optimizer], options: tuple[tuple[str, Any], ...], ndim: int, dtype: torch.dtype, device: torch.device
) -> Mapping[str, StateEntry] | None:
    shape = tuple(range(2, 2 + ndim))
    try:
        found = state_after_step(cls, dict(options), shape, dtype, device)
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return None
    return {key: _entry(value, shape) for key, value in found.items()}


def _entry(value: Any, shape: tuple[int, ...]) -> StateEntry:
    if not isinstance(value, torch.Tensor):
        return StateEntry("number")
    kind = "scalar" if value.ndim == 0 else "like" if value.shape == shape else "other"
    return StateEntry(kind, value.dtype, value.device)
