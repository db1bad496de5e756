"""What a plot shows of a plan: one mark for each block, group and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.plan import Plan
from optimbuild.plot.blocks import blocks_of

KINDS = ("norm", "bias", "embedding", "deformable", "depthwise", "conv", "linear")
"""The kinds that are told apart; a parameter of several is drawn as the first of them."""
OTHER = "other"


@dataclass(frozen=True)
class Mark:
    """Parameters of one block that are in one group and of one kind.

    Args:
        block: The index of the block.
        kind: The kind.
        optimizer: The optimizer's name; None where they are frozen.
        lr: Their learning rate; None where they are frozen, or where it is no number.
        weight_decay: Their weight decay; None likewise.
    """

    block: int
    kind: str
    optimizer: str | None
    lr: float | None
    weight_decay: float | None


def marks_of(plan: Plan) -> tuple[list[str], list[Mark]]:
    """Return the blocks of a plan's model in model order, and the marks.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> marks_of(make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, model))
    (['fc'], [Mark(block=0, kind='other', optimizer='sgd', lr=0.1, weight_decay=0.0)])
    """
    of_params = blocks_of(plan.inventory.names)
    blocks = list(dict.fromkeys(of_params))
    index = {block: i for i, block in enumerate(blocks)}
    marks = {}
    for decision, block in zip(plan, of_params, strict=True):
        kind = kind_of(decision.param)
        key = (index[block], decision.group, kind)
        if key not in marks:
            marks[key] = Mark(
                index[block], kind, decision.optimizer, number(decision.lr), number(decision.weight_decay)
            )
    return blocks, list(marks.values())


def kind_of(param: ParamInfo) -> str:
    """Return the kind as which a parameter is drawn.

    >>> kind_of(ParamInfo("norm.bias", (4,), kinds=frozenset({"bias", "norm"})))
    'norm'
    """
    return next((kind for kind in KINDS if kind in param.kinds), OTHER)


def number(value: Any) -> float | None:
    """Return an option as a number; None where it is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def ticks_of(blocks: Sequence[str], most: int = 16) -> list[int]:
    """Return the indices of the blocks whose names fit under an axis, every so many, and the last one.

    >>> ticks_of(["stem", "a.0", "a.1", "a.2", "a.3", "head"], most=3)
    [0, 2, 5]
    """
    last = len(blocks) - 1
    every = -(-len(blocks) // most)
    ticks = [i for i in range(0, last, every) if last - i >= every]
    return [*ticks, last]
