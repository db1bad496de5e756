"""Which parameters several saved optimizers hold that have no names, as those of a GAN in a Lightning file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import accumulate, pairwise, permutations
from typing import Any

import torch

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

MOST = 5
"""Of more optimizers than this not all orders are tried."""

Shapes = list[tuple[int, ...] | None]
"""For each saved parameter the shape of its state; None where it has none."""


def names_of_parts(states: Mapping[str, Mapping[str, Any]], model: Inventory) -> dict[str, list[str]]:
    """Return the names of what saved optimizers hold, where their state shows it; empty where it does not.

    Each optimizer holds whole modules of the model in its own order, and together they hold all of it. There may be
    one order only in which the shapes of the state fit.

    Args:
        states: The saved optimizers by their places, none with names.
        model: The parameters of the model.

    >>> import torch
    >>> def saved(*shapes):
    ...     return {"state": {i: {"exp_avg": torch.zeros(shape)} for i, shape in enumerate(shapes)},
    ...             "param_groups": [{"params": list(range(len(shapes)))}]}
    >>> model = Inventory((ParamInfo("generator.weight", (2, 3)), ParamInfo("critic.weight", (1, 2))))
    >>> names_of_parts({"0": saved((1, 2)), "1": saved((2, 3))}, model)
    {'0': ['critic.weight'], '1': ['generator.weight']}
    """
    shapes = {place: _shapes(state) for place, state in states.items()}
    if not 1 < len(states) <= MOST or not all(shapes.values()):
        return {}
    trainable = [param for param in model if param.trainable]
    orders = [trainable] if len(trainable) == len(model) else [list(model), trainable]
    found = [
        dict(zip(order, parts, strict=True))
        for params in orders
        for starts in [_starts(params)]
        for order in permutations(shapes)
        for parts in [_stretches(params, starts, [shapes[place] or [] for place in order])]
        if parts
    ]
    return {place: [param.name for param in found[0][place]] for place in shapes} if len(found) == 1 else {}


def _shapes(state: Mapping[str, Any]) -> Shapes | None:
    """Return the shapes of the state of one unnamed group; None where there are several, names, or no state."""
    groups = [group for group in state.get("param_groups", ()) if group.get("params")]
    if len(groups) != 1 or groups[0].get("param_names"):
        return None
    kept = state.get("state", {})
    found = [max(_sizes(kept.get(key)), key=math.prod, default=None) for key in groups[0]["params"]]
    return found if any(found) else None


def _sizes(entries: Any) -> Iterator[tuple[int, ...]]:
    for value in entries.values() if isinstance(entries, Mapping) else ():
        if isinstance(value, torch.Tensor) and value.ndim:
            yield tuple(value.shape)


def _starts(params: Sequence[ParamInfo]) -> Set[int]:
    """Return where each of the largest modules begins of which a model consists."""
    paths = [param.name.split(".") for param in params]
    shared = next((i for i, segments in enumerate(zip(*paths, strict=False)) if len(set(segments)) > 1), 0)
    tops = [path[shared : shared + 1] for path in paths]
    return {place for place, (before, here) in enumerate(pairwise(tops), start=1) if before != here}


def _stretches(params: Sequence[ParamInfo], starts: Set[int], shapes: Sequence[Shapes]) -> list[Any]:
    """Return the parameters of optimizers one behind the other; empty where one of them does not fit."""
    ends = list(accumulate(map(len, shapes), initial=0))
    if ends[-1] != len(params) or not starts >= set(ends[1:-1]):
        return []
    every = [shape for own in shapes for shape in own]
    if any(shape not in (None, param.shape) for param, shape in zip(params, every, strict=True)):
        return []
    return [params[start:end] for start, end in pairwise(ends)]
