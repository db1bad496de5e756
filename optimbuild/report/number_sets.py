"""Sets of numbers in names, as the ranges of a pattern: ``{0..31}``, ``{{0..4},{6..31}}``."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain, product

from optimbuild.report.families import Family, Indices

Runs = tuple[range, ...]
"""A set of whole numbers as ranges, in order."""
Box = tuple[Runs, ...]
"""For each place of a number in a family the numbers there; all combinations belong to it."""
DEEPEST = 8
"""How many numbers a name may have whose combinations are shown as products."""
SPARSEST = 8
"""How many times as many numbers as names a box may have that is tried."""


def runs_text(runs: Runs) -> str:
    """Return a set of numbers as a segment of a pattern.

    >>> runs_text((range(0, 32),)), runs_text((range(5, 6),)), runs_text((range(0, 5), range(6, 7)))
    ('{0..31}', '5', '{{0..4},6}')
    """
    texts = [str(run[0]) if len(run) == 1 else f"{{{run[0]}..{run[-1]}}}" for run in runs]
    return texts[0] if len(texts) == 1 else f"{{{','.join(texts)}}}"


def boxes(family: Family, members: Sequence[Indices]) -> list[tuple[Box, int]]:
    """Return some members of a family as few boxes that hold no other member of it, each with its number of members.

    >>> from optimbuild.report.families import Families
    >>> names = [f"levels.{i}.blocks.{j}.w" for i in (0, 1) for j in range(3 + 3 * i)]
    >>> family = Families(names).place(names[0])[0]
    >>> [[runs_text(runs) for runs in box] for box, _ in boxes(family, family.members)]
    [['{0..1}', '{0..5}']]
    >>> [[runs_text(runs) for runs in box] for box, _ in boxes(family, [(0, 0), (0, 2), (1, 0), (1, 2), (1, 3)])]
    [['0', '{0,2}'], ['1', '{0,{2..3}}']]
    """
    if not family.places:
        return [((), 1)]
    if len(members) == len(family.members):
        return [(tuple([(range(values[0], values[-1] + 1),) for values in family.values()]), len(members))]
    columns = list(zip(*members, strict=True))
    hull = tuple([(range(min(column), max(column) + 1),) for column in columns])
    if _size(hull) <= SPARSEST * len(members) and count_in(family, hull, len(members), own=True) == len(members):
        return [(hull, len(members))]
    found = []
    for sets in _products(members):
        runs = [_runs(sorted(numbers), values) for numbers, values in zip(sets, family.values(), strict=True)]
        found.append((tuple(runs), math.prod(map(len, sets))))
    return found


def count_in(branch: Family, box: Box, limit: int, own: bool = False) -> int:
    """Return how many names are in a box, or below it; counting stops above a limit.

    Args:
        branch: The family of the names, or a branch above it.
        box: The first numbers of the names.
        limit: A number of names.
        own: Leave out what is below the family.
    """
    if not box or all(map(_holds_all, box, branch.values() if own else branch.all_values())):
        return len(branch.members) if own else branch.total()
    counts, found = branch.own() if own else branch.counts(len(box)), 0
    if _size(box) > len(counts):
        inside: Iterable[Indices] = [indices for indices in counts if _holds(box, indices)]
    else:
        inside = product(*[chain(*runs) for runs in box])
    for indices in inside:
        found += counts.get(indices, 0)
        if found > limit:
            break
    return found


def _size(box: Box) -> int:
    return math.prod([sum(map(len, runs)) for runs in box])


def _holds(box: Box, indices: Indices) -> bool:
    return all(any(number in run for run in runs) for number, runs in zip(indices, box, strict=True))


def _holds_all(runs: Runs, values: Sequence[int]) -> bool:
    return len(runs) == 1 and runs[0][0] <= values[0] and values[-1] <= runs[0][-1]


def _runs(numbers: Sequence[int], values: Sequence[int]) -> Runs:
    """Return numbers as ranges; a range may hold numbers that no name has."""
    found: list[range] = []
    for number in numbers:
        if found and (number == found[-1].stop or values[bisect_right(values, found[-1][-1])] == number):
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return tuple(found)


def _products(members: Sequence[Indices]) -> list[tuple[frozenset[int], ...]]:
    """Return combinations of numbers as products of sets: firsts with the same rests share one."""
    if len(members[0]) == 1:
        return [(frozenset([number for (number,) in members]),)]
    if not members[0] or len(members[0]) > DEEPEST or len(members) == 1:
        return [tuple([frozenset((number,)) for number in indices]) for indices in members]
    rests: dict[int, list[Indices]] = {}
    for first, *rest in members:
        rests.setdefault(first, []).append(tuple(rest))
    firsts: dict[frozenset[Indices], list[int]] = {}
    for first, found in rests.items():
        firsts.setdefault(frozenset(found), []).append(first)
    return [(frozenset(numbers), *sets) for found, numbers in firsts.items() for sets in _products(sorted(found))]
