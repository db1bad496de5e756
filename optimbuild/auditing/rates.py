"""The LRs of groups as they were meant: before a scheduler moved them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.checkpoint.group_options import plain_option

SCALE = "lr_scale"
"""The key under which timm, MAE and OpenMMLab keep a group's factor of the LR."""

TOLERANCE = 1.01
"""By how much two ratios may differ and count as the same."""


def number(value: Any) -> float | None:
    """Return an LR as a number; None where it is none, as that of Adafactor may be.

    >>> import torch
    >>> number(torch.tensor(0.5)), number(None)
    (0.5, None)
    """
    plain = plain_option(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        return None
    try:
        return float(plain)
    except OverflowError:
        return math.inf


def same(ratios: Sequence[float]) -> bool:
    """Say whether ratios are the same, but for rounding."""
    return not ratios or max(ratios) <= min(ratios) * TOLERANCE


def base_rates(found: Found) -> list[float | None]:
    """Return for each group the LR that a scheduler starts from, or the LR itself where no scheduler noted one.

    Timm's scheduler multiplies by ``lr_scale`` and notes the LR without it. Where the current LRs have that factor,
    so has what is returned.

    Args:
        found: The groups.
    """
    noted = [number(group.entries.get("initial_lr")) for group in found.groups]
    if scales_are_applied(found.groups):
        scales = [number(group.entries.get(SCALE)) for group in found.groups]
        noted = [
            None if lr is None else lr * (1.0 if scale is None else scale)
            for lr, scale in zip(noted, scales, strict=True)
        ]
    current = [number(group.entries.get("lr")) for group in found.groups]
    return [now if first is None else first for first, now in zip(noted, current, strict=True)]


def scales_are_applied(groups: Sequence[FoundGroup]) -> bool:
    """Say whether a scheduler that knows ``lr_scale`` has set the current LRs from one LR for all."""
    known = [
        (first, now, 1.0 if scale is None else scale)
        for first, now, scale in [_of_timm(group) for group in groups]
        if first and now
    ]
    if same([scale for *_, scale in known]) or any(scale <= 0 for *_, scale in known):
        return False
    return same([now / (first * scale) for first, now, scale in known])


def _of_timm(group: FoundGroup) -> tuple[float | None, float | None, float | None]:
    entries = group.entries
    return number(entries.get("initial_lr")), number(entries.get("lr")), number(entries.get(SCALE))
