"""Changes between two plans, folded over depth: those of layers that differ by a factor share one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from optimbuild.report.depth_ladders import longest_monotone
from optimbuild.report.families import Families
from optimbuild.report.folding import Gathered, Row, folded, lr_of


@dataclass(frozen=True)
class Change:
    """Parameters of which one option changes from one value to another.

    Args:
        option: The option.
        before: Its value in the first plan.
        after: Its value in the second one.
        params: The parameters' names, in model order.
    """

    option: str
    before: Any
    after: Any
    params: list[str]


@dataclass(frozen=True)
class _Values:
    """A change as a group whose learning rate is one of the two values, which is what a folding reads."""

    options: dict[str, Any]
    params: Sequence[str]
    optimizer: str = ""
    name: str = ""
    implementation: str = ""
    numel: int = 0


def folded_changes(changes: Sequence[Change], families: Families, whole: bool) -> Iterator[tuple[Change, Change, Row]]:
    """Yield the rows of the changes of one option: that of the first layer, that of the last one, and the row.

    A row over depth goes one way in both plans, so its ends tell the range of what lies between.

    Args:
        changes: The distinct changes.
        families: The families of all names.
        whole: As for :func:`optimbuild.report.folding.folded`.
    """
    for row in folded(_groups(changes), families, whole):
        found = [changes[index] for index in row.groups]
        if _is_monotone([change.before for change in found]) and _is_monotone([change.after for change in found]):
            yield found[0], found[-1], row
        else:
            yield from [(change, change, _part(row, change, families)) for change in found]


def _groups(changes: Sequence[Change]) -> list[_Values]:
    """Return each change as a group with the value that differs more often; groups with equal ones have a number."""
    sides = [[change.before for change in changes], [change.after for change in changes]]
    values = max(sides, key=lambda side: len(set(map(repr, side))))
    seen: Counter[str] = Counter()
    groups = []
    for value, change in zip(values, changes, strict=True):
        groups.append(_Values({"lr": value, "copy": seen[repr(value)]}, change.params))
        seen[repr(value)] += 1
    return groups


def _is_monotone(values: Sequence[Any]) -> bool:
    if len(set(map(repr, values))) == 1:
        return True
    lrs = [lr_of(_Values({"lr": value}, ())) for value in values]
    return all(lrs) and len(longest_monotone(lrs)) == len(lrs)


def _part(row: Row, change: Change, families: Families) -> Row:
    """Return the part of a row that one change is."""
    part, positions = Gathered(), set(row.positions)
    for name in change.params:
        family, indices, position = families.place(name)
        if position in positions:
            part.add(family, [(indices, 0, position)])
    return Row([], part.parts, part.positions)
