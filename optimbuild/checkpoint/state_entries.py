"""What an optimizer keeps for a parameter, found out by letting its class take one step on a tiny one."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from optimbuild.checkpoint.group_options import NO_OPTIONS


@dataclass(frozen=True)
class Entry:
    """One thing that an optimizer keeps for a parameter.

    Args:
        kind: ``like``: a tensor of the parameter's shape; ``scalar``: a tensor without dimensions;
            ``number``: no tensor; ``other``: a tensor of another shape.
        dtype: Of the tensor; None for a number.
        device: Where the tensor lives; None for a number.
    """

    kind: str
    dtype: torch.dtype | None = None
    device: torch.device | None = None


FIXED: Mapping[str, float] = {"lr": 1e-3, "weight_decay": 0.0}
"""Options that differ from group to group and do not decide what is kept."""


def expected_state(optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor) -> Mapping[str, Entry] | None:
    """Return what an optimizer keeps for a parameter after a step, or None where that cannot be found out.

    The class is asked, not a table, so a user's own optimizer is checked like torch's.

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
    given = {key: FIXED.get(key, value) for key, value in group.items() if key in known}
    where = (param.ndim, param.dtype, param.device)
    try:
        return _expected(cast(Any, type(optimizer)), tuple(given.items()), *where)
    except TypeError:  # an option that has no hash, such as a list
        return _expected.__wrapped__(type(optimizer), tuple(given.items()), *where)


@lru_cache(maxsize=1024)
def _expected(
    cls: type[Optimizer], options: tuple[tuple[str, Any], ...], ndim: int, dtype: torch.dtype, device: torch.device
) -> Mapping[str, Entry] | None:
    tiny = nn.Parameter(torch.zeros(tuple(range(2, 2 + ndim)), dtype=dtype, device=device))
    tiny.grad = torch.zeros_like(tiny)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            optimizer: Optimizer = cast(Any, cls)([{"params": [tiny], **dict(options)}])
            inspect.unwrap(cls.step)(optimizer)  # without the hooks that somebody put on every optimizer's step
            found = optimizer.state.get(tiny, {})
    except Exception:  # noqa: BLE001  # whatever a foreign optimizer raises, such as for want of a closure
        return None
    return {key: _entry(value, tiny) for key, value in found.items() if value is not None}


def _entry(value: Any, param: torch.Tensor) -> Entry:
    if not isinstance(value, torch.Tensor):
        return Entry("number")
    kind = "scalar" if value.ndim == 0 else "like" if value.shape == param.shape else "other"
    return Entry(kind, value.dtype, value.device)
