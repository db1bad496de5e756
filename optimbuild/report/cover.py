"""Covering some names of a model by patterns that match no other name of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from optimbuild.report.braces import Path
from optimbuild.report.families import Families, Family, Indices
from optimbuild.report.number_sets import Box, boxes, count_in, runs_text

Parts = Mapping[Family, Sequence[Indices]]
"""Some names of a model: the numbers of the members of each family."""
MANY, SOURCES = 1000, 200
"""Of more families than this only some patterns are tried: those of the first ones, in their shortest forms."""
ANYWHERE = "**"


class _Item(NamedTuple):
    """Names of one family that one pattern writes.

    Args:
        branches: The family, and the branches around it.
        box: The numbers.
        names: How many names.
        wanted: How many of them are to be covered; none of those that only may be.
        path: The segments of the pattern.
    """

    branches: Sequence[Family]
    box: Box
    names: int
    wanted: int
    path: Path


@dataclass
class _Candidate:
    """A pattern that may match names that are not wanted.

    Args:
        path: Its segments.
        branch: The branch of names that it begins with.
        box: The numbers there.
        matched: How many names of the row it matches.
        items: What it covers.
    """

    path: Path
    branch: Family
    box: Box
    matched: int = 0
    items: list[int] = field(default_factory=list)


def cover(families: Families, parts: Parts, stem: int = 0) -> Iterator[tuple[Path, Mapping[int, int]]]:
    """Yield patterns that match names of the parts only, each with the pieces that it covers and their sizes in names.

    Each time the pattern comes that covers most of what is left. Names that no glob can write are not covered.

    Args:
        families: All names of the model.
        parts: The names to cover, aliases left out.
        stem: How many segments all patterns begin with.
    """
    items = [*_items(parts, True), *_items(_twins(families, parts), False)]
    candidates = _candidates(families.root, items, stem)
    heap = [
        (*_rank(found, sum([items[i].wanted for i in found.items])), order) for order, found in enumerate(candidates)
    ]
    heapq.heapify(heap)
    left = {i for i, item in enumerate(items) if item.wanted}
    exact: set[int] = set()
    while heap and left:
        *rank, order = heapq.heappop(heap)
        found = candidates[order]
        new = [i for i in found.items if i in left]
        if not new or not (order in exact or _is_exact(families, found)):
            continue
        exact.add(order)
        count = sum([items[i].wanted for i in new])
        if count < -rank[0]:  # others have covered a part of it since it was ranked
            heapq.heappush(heap, (*_rank(found, count), order))
            continue
        left.difference_update(new)
        yield found.path, {i: items[i].wanted for i in found.items if items[i].wanted}


def _rank(candidate: _Candidate, count: int) -> tuple[int, bool, int]:
    """Return the sort key of patterns: most names first, then those without ``**``, then fewest segments."""
    return -count, ANYWHERE in candidate.path, len(candidate.path)


def _items(parts: Parts, wanted: bool) -> list[_Item]:
    found = []
    for family, members in parts.items():
        branches = family.path()
        for box, count in boxes(family, members):
            numbers = iter(box)
            path = [runs_text(next(numbers)) if branch.numbered else branch.segment for branch in branches]
            found.append(_Item(branches, box, count, count if wanted else 0, tuple(path)))
    return found


def _twins(families: Families, parts: Parts) -> Parts:
    """Return the aliases of the names, which a pattern may match too."""
    found: dict[Family, list[Indices]] = {}
    for family in parts.keys() & families.twins.keys():
        twins = families.twins[family]
        for indices in parts[family]:
            for other, numbers, _ in twins.get(indices, ()):
                found.setdefault(other, []).append(numbers)
    return found


def _candidates(root: Family, items: Sequence[_Item], stem: int) -> list[_Candidate]:
    """Return the patterns that match some items; of many items, those of the first ones."""
    many = len(items) > MANY
    found: dict[Path, _Candidate] = {}
    shapes = [_shapes(item, stem, many) for item in items[: SOURCES if many else None]]
    for item, own in zip(items, shapes, strict=False):
        for path, length in own.items():
            if path not in found:
                branch = item.branches[length - 1] if length else root
                box = item.box[: sum([branch.numbered for branch in item.branches[:length]])]
                found[path] = _Candidate(path, branch, box)
    for i, item in enumerate(items):
        for path in _short_shapes(item, stem) if many else shapes[i]:
            if path in found:
                found[path].matched += item.names
                found[path].items.append(i)
    return [candidate for candidate in found.values() if any(items[i].wanted for i in candidate.items)]


def _short_shapes(item: _Item, stem: int) -> set[Path]:
    """Return what the patterns of other items look like that match this one, where there are many items."""
    path = item.path
    found = {path[: max(stem, 1)], path}
    if len(path) > stem + 1 and "" not in path:
        found.add((*path[:stem], ANYWHERE, path[-1]))
    if len(path) > stem + 2 and "" not in path:
        found.add((*path[:stem], ANYWHERE, *path[-2:]))
    return found


def _shapes(item: _Item, stem: int, many: bool) -> dict[Path, int]:
    """Return the patterns that match an item, each with the number of segments before ``**``, or of all.

    They are the modules around it, itself included; and, at the beginning and behind the last number, ``**`` with a
    segment that lies behind, or with the last two.
    """
    path, branches = item.path, item.branches
    last = len(path) - 1
    usable = [branch.is_writable() for branch in branches]
    writable = len(path) if all(usable) else usable.index(False)
    lengths = range(max(stem, 1), writable + 1)
    found = {path[:length]: length for length in ((*lengths[:1], *lengths[-1:]) if many else lengths)}
    numbered = max([place + 1 for place, branch in enumerate(branches) if branch.numbered], default=0)
    for start in {stem} if many else {stem, numbered}:
        if start > writable or not all(branch.segment for branch in branches[start:]):
            continue  # ** matches no empty segment
        for place in (last,) if many else range(start + 1, last + 1):
            if place > start and usable[place] and not branches[place].numbered:
                found[(*path[:start], ANYWHERE, path[place])] = start
        if last - 1 > start and all(usable[-2:]) and not any(branch.numbered for branch in branches[-2:]):
            found[(*path[:start], ANYWHERE, *path[last - 1 :])] = start
    return found


def _is_exact(families: Families, candidate: _Candidate) -> bool:
    """Say whether a pattern matches no names but those of the row that it covers."""
    count = 0
    for branch in _matched(families, candidate):
        if branch.total() > candidate.matched - count and not candidate.box:
            return False
        count += count_in(branch, candidate.box, candidate.matched - count)
        if count > candidate.matched:
            return False
    return True


def _matched(families: Families, candidate: _Candidate) -> Iterator[Family]:
    """Yield the branches that a pattern matches."""
    start = candidate.branch
    if ANYWHERE not in candidate.path:
        yield start
        return
    *others, last = candidate.path[candidate.path.index(ANYWHERE) + 1 :]
    for branch in families.by_segment.get(last, ()):
        inside = start.above is None or (branch is not start and start in branch.path())
        if inside and (not others or (branch.above is not None and branch.above.segment == others[0])):
            yield branch
