"""Folding a plan over depth: parameters whose settings differ by a factor per layer share one row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from operator import itemgetter

from optimbuild.report.cover import Parts
from optimbuild.report.depth_ladders import longest_monotone, rung_of, step_ratios
from optimbuild.report.families import Families, Family, Indices
from optimbuild.report.interfaces import GroupView
from optimbuild.report.name_patterns import Covered

NONE = -1
"""The index of the group, and of the kind of group, of a name that is in none."""
Points = list[tuple[Indices, int, int]]
"""For members of a family their numbers, the index of their group, and their position in model order."""


@dataclass
class Row:
    """One row of the folded view.

    Args:
        groups: The groups of its parameters: one, or one per step of its ladder, by depth; none where it is frozen.
        parts: For each family of names the numbers of its parameters; None where it has all names.
        positions: The positions of its parameters in the model, in no order.
        ratio: The factor per layer; None where all have one setting.
        stem: How many segments its names share, numbers included.
    """

    groups: list[int]
    parts: Parts | None = field(default_factory=dict)
    positions: Sequence[int] = ()
    ratio: float | None = None
    stem: int = 0

    def covered(self, families: Families) -> Covered:
        """Return the patterns for its names, of which there must be one."""
        return Covered(families, self.parts, self.stem)


@dataclass
class Gathered:
    """Parameters that become a row.

    Attributes:
        parts: For each family of names the numbers of the parameters.
        positions: Their positions in model order.
    """

    parts: dict[Family, list[Indices]] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)

    def add(self, family: Family, points: Points) -> None:
        """Add parameters of a family."""
        self.parts.setdefault(family, []).extend([indices for indices, _, _ in points])
        self.positions += [position for _, _, position in points]


@dataclass
class _Ladder:
    """Groups by depth.

    Args:
        branch: The branch of names whose last number is the depth.
        dims: The places of the numbers that make the depth.
        ratio: The factor per layer.
        at: The group of each depth.

    Attributes:
        names: The parameters on it.
    """

    branch: Family
    dims: tuple[int, ...]
    ratio: float
    at: dict[Indices, int] = field(default_factory=dict)
    names: Gathered = field(default_factory=Gathered)

    def takes(self, points: Points) -> bool:
        """Say whether the groups of all points are those of this ladder at their depths."""
        at, depth_of = self.at, _picking(self.dims)
        return all(at.get(depth_of(indices)) == group for indices, group, _ in points)

    def finished(self) -> Row:
        """Return its row."""
        groups = [self.at[depth] for depth in sorted(self.at)]
        return Row(groups, self.names.parts, self.names.positions, self.ratio, len(self.branch.path()))


def folded(groups: Sequence[GroupView], families: Families, whole: bool, frozen: Sequence[str] = ()) -> list[Row]:
    """Return the rows of the folded view, in model order.

    Args:
        groups: The groups of the plan.
        families: The families of all names.
        whole: Whether a ladder may go over several numbers, as in ``levels.*.blocks.*``; else over the last of them.
        frozen: Names that are in no group. They have a row at the end, which has no groups.
    """
    if len(groups) == 1 and len(groups[0].params) == len(families) and families.are_plain:
        return [Row([0], None, range(len(families)))]
    kinds: dict[tuple[object, ...], list[int]] = {}
    for index, group in enumerate(groups):
        kinds.setdefault(_kind(group), []).append(index)
    kinds |= {(): [len(groups)]} if frozen else {}  # as if it were one more group, and of a kind of its own
    group_at = _group_at([*[group.params for group in groups], frozen], families)
    rows: list[Row] = []
    for members, shares in zip(kinds.values(), _shares(list(kinds.values()), group_at, families), strict=True):
        if len(members) == 1:
            parts = {family: numbers for family, numbers, _ in shares}
            rows.append(Row(members, parts, list(chain.from_iterable([places for *_, places in shares]))))
            continue
        points = {
            family: list(zip(numbers, map(group_at.__getitem__, positions), positions, strict=True))
            for family, numbers, positions in shares
        }
        rows += _Fold({index: lr_of(groups[index]) for index in members}, whole).rows(points)
        rows += [Row([index]) for index in members if not groups[index].params]
    last = [replace(rows.pop(), groups=[])] if frozen else []
    return sorted(rows, key=lambda row: min(row.positions, default=len(families))) + last


def _group_at(groups: Sequence[Sequence[str]], families: Families) -> list[int]:
    """Return the index of the group of each name, aliases behind; NONE for those in none."""
    found = [NONE] * (len(families) + len(families.aliases))
    for index, names in enumerate(groups):
        for position in map(families.positions.__getitem__, names):
            found[position] = index
    return found


_Share = tuple[Family, Sequence[Indices], Sequence[int]]
"""Some names of a family: their numbers, and their positions in model order."""


def _shares(kinds: Sequence[Sequence[int]], group_at: Sequence[int], families: Families) -> list[list[_Share]]:
    """Return the names of the groups of each kind, by family, in the order of the first name of each."""
    kind_of = {NONE: NONE} | {index: kind for kind, members in enumerate(kinds) for index in members}
    kind_at = list(map(kind_of.__getitem__, group_at))
    found: list[list[_Share]] = [[] for _ in range(len(kinds) + 1)]  # the last are the names in no group
    for family in families.with_names:
        members = family.members
        own = list(map(kind_at.__getitem__, members.positions))
        if own.count(own[0]) == len(own):  # nearly always
            found[own[0]].append((family, members, members.positions))
            continue
        shares: dict[int, tuple[list[Indices], list[int]]] = {}
        for position, kind, indices in sorted(zip(members.positions, own, members, strict=True)):
            numbers, positions = shares.setdefault(kind, ([], []))
            numbers.append(indices)
            positions.append(position)
        for kind, (numbers, positions) in shares.items():
            found[kind].append((family, numbers, positions))
    for of_kind in found:
        of_kind.sort(key=lambda share: min(share[2]))
    return found[: len(kinds)]


def lr_of(group: GroupView) -> float:
    """Return the learning rate of a group; 0 where it has none that can be a step of a ladder."""
    lr = group.options.get("lr")
    return float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) and lr > 0 else 0.0


def _kind(group: GroupView) -> tuple[object, ...]:
    """Return what groups have in common whose settings differ in a factor of the learning rate only."""
    options = {key: value for key, value in group.options.items() if key != "lr" or not lr_of(group)}
    return group.optimizer, re.sub(r"\d+", "#", group.name), repr(sorted(options.items())), group.implementation


class _Fold:
    """Folds the groups of one kind.

    Args:
        lrs: The learning rates of the groups.
        whole: As for :func:`folded`.
    """

    def __init__(self, lrs: Mapping[int, float], whole: bool) -> None:
        self.lrs, self.whole = lrs, whole
        self.ladders: dict[Family, list[_Ladder]] = {}
        self.loose: list[tuple[Family, Points]] = []

    def rows(self, points: Mapping[Family, Points]) -> list[Row]:
        """Return the rows of parameters: those of ladders, and one for each group of the others."""
        for found in points.values():
            found.sort()
        ratios = step_ratios(self._neighbours(points.values()), set(self.lrs.values()))
        for family, found in points.items():
            self._fold(family, found, ratios)
        single: dict[int, Gathered] = {}
        for family, found in self.loose:
            group = found[0][1]
            ladder = self._ladder_with(family, found)
            (ladder.names if ladder else single.setdefault(group, Gathered())).add(family, found)
        rows = [ladder.finished() for some in self.ladders.values() for ladder in some]
        return [*rows, *[Row([group], found.parts, found.positions) for group, found in single.items()]]

    def _neighbours(self, points: Iterable[Points]) -> set[tuple[float, float]]:
        pairs = {
            (before, after) for found in points for (_, before, _), (_, after, _) in pairwise(found) if before != after
        }
        found = [sorted((self.lrs[before], self.lrs[after])) for before, after in pairs]
        return {(low, high) for low, high in found}

    def _fold(self, family: Family, points: Points, ratios: Sequence[float]) -> None:
        """Give the members of a family to ladders, or leave them loose."""
        if not ratios or len({group for _, group, _ in points}) == 1:
            return self._leave(family, points)
        own = [ratio for ratio in step_ratios(self._neighbours([points])) if ratio in ratios]
        ratio = (own or ratios)[0]
        first = self.lrs[points[0][1]]
        rung = {group: rung_of(self.lrs[group], ratio, first) for group in {group for _, group, _ in points}}
        rungs: dict[float, Points] = {}
        for point in points:
            rungs.setdefault(rung[point[1]], []).append(point)
        for found in rungs.values():
            dims = _relevant(found)
            if not dims:
                self._leave(family, found)
                continue
            outer: dict[Indices, Points] = {(): found} if self.whole or len(dims) == 1 else {}
            outside = _picking(dims[:-1])
            for point in () if outer else found:
                outer.setdefault(outside(point[0]), []).append(point)
            for some in outer.values():
                self._climb(family, some, dims, ratio)
        return None

    def _climb(self, family: Family, points: Points, dims: tuple[int, ...], ratio: float) -> None:
        """Give the members of a family to one ladder, but for those that break it."""
        depth_of = _picking(dims)
        at = {depth_of(indices): group for indices, group, _ in points}
        depths, taken = sorted(at), points
        kept = longest_monotone([self.lrs[at[depth]] for depth in depths])
        if len(kept) < len(depths):
            at = {depth: at[depth] for place, depth in enumerate(depths) if place in kept}
            taken = [point for point in points if depth_of(point[0]) in at]
            self._leave(family, [point for point in points if depth_of(point[0]) not in at])
        if len(set(at.values())) == 1:
            return self._leave(family, taken)
        branch = _numbers(family)[dims[-1]]
        ladders = self.ladders.setdefault(branch, [])
        ladder = next((ladder for ladder in ladders if ladder.dims == dims and self._fits(ladder, at)), None)
        if ladder is None:
            ladder = _Ladder(branch, dims, ratio)
            ladders.append(ladder)
        ladder.at |= at
        ladder.names.add(family, taken)
        return None

    def _fits(self, ladder: _Ladder, at: Mapping[Indices, int]) -> bool:
        """Say whether groups by depth continue a ladder."""
        if not self.whole and next(iter(at))[:-1] != next(iter(ladder.at))[:-1]:
            return False
        if not all(ladder.at.get(depth, group) == group for depth, group in at.items()):
            return False
        both = {**ladder.at, **at}
        return len(longest_monotone([self.lrs[both[depth]] for depth in sorted(both)])) == len(both)

    def _leave(self, family: Family, points: Points) -> None:
        """Leave members of a family loose, by their groups."""
        by_group: dict[int, Points] = {}
        for point in points:
            by_group.setdefault(point[1], []).append(point)
        self.loose += [(family, found) for found in by_group.values()]

    def _ladder_with(self, family: Family, points: Points) -> _Ladder | None:
        """Return the ladder on which members of a family are, those of one layer for example."""
        for branch in reversed(_numbers(family)):
            for ladder in self.ladders.get(branch, ()):
                if ladder.takes(points):
                    return ladder
        return None


def _relevant(points: Points) -> tuple[int, ...]:
    """Return the places of the numbers that decide the group."""
    dims = list(range(len(points[0][0])))
    for d in reversed(range(len(dims))):
        others = [other for other in dims if other != d]
        rest_of = _picking(others)
        pairs = {(rest_of(indices), group) for indices, group, _ in points}
        if len({rest for rest, _ in pairs}) == len(pairs):
            dims = others
    return tuple(dims)


def _picking(dims: Sequence[int]) -> Callable[[Indices], Indices]:
    """Return the function that picks the numbers of some places."""
    if len(dims) > 1:
        return itemgetter(*dims)
    return itemgetter(slice(dims[0], dims[0] + 1) if dims else slice(0))  # of one item it would give no tuple


def _numbers(family: Family) -> list[Family]:
    """Return the branches around a family that are numbers, itself included."""
    return [branch for branch in family.path() if branch.numbered]
