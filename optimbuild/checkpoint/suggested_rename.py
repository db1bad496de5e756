"""A suggestion where parameters were renamed: missing and unexpected names that pair up by shape and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from optimbuild.checkpoint.saved_state import SavedState

_MOST = 3
"""How many prefixes a suggestion has at most."""


def suggested_rename(
    missing: Sequence[str], strangers: Sequence[str], params: Mapping[str, torch.Tensor], saved: SavedState
) -> str:
    """Return ``rename={...}`` where it would load all missing parameters; an empty text where nothing pairs up.

    Args:
        missing: Parameters without saved state, in the order of the optimizer.
        strangers: Saved parameters that the optimizer does not have, in the order of the save.
        params: The optimizer's parameters.
        saved: The saved state.
    """
    old = [name for name in strangers if name in saved.state]
    if not missing or len(missing) != len(old):
        return ""
    pairs = list(zip(old, missing, strict=True))
    if not all(_same_shape(saved.state[before], params[after]) for before, after in pairs):
        pairs = _by_ending(old, missing)
        if len(pairs) != len(old) or not all(_same_shape(saved.state[a], params[b]) for a, b in pairs):
            return ""
    distinct = {_prefixes(before, after) for before, after in pairs}
    prefixes = dict(sorted(distinct))
    return f"rename={prefixes!r}" if len(prefixes) == len(distinct) <= _MOST else ""


def _same_shape(entries: Mapping[str, Any], param: torch.Tensor) -> bool:
    shapes = [value.shape for value in entries.values() if isinstance(value, torch.Tensor) and value.ndim]
    return bool(shapes) and param.shape in shapes


def _by_ending(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """Pair names by their last two segments, where each ending is there once on both sides."""
    endings = {".".join(name.split(".")[-2:]): name for name in new}
    return [(name, endings[key]) for name in old if (key := ".".join(name.split(".")[-2:])) in endings]


def _prefixes(old: str, new: str) -> tuple[str, str]:
    """Return what two names begin with, without the segments that they end with alike."""
    before, after = old.split("."), new.split(".")
    while len(before) > 1 and len(after) > 1 and before[-1] == after[-1]:
        before.pop()
        after.pop()
    if len(before) == old.count(".") + 1:
        return old, new
    return ".".join(before) + ".", ".".join(after) + "."
