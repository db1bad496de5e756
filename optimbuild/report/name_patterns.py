"""Patterns for some parameters of a model, to show many names in few words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from optimbuild.messages import counted
from optimbuild.model.inventory import Inventory
from optimbuild.model.patterns import REGEX, Pattern
from optimbuild.report.braces import Path, braced, is_accepted
from optimbuild.report.cover import ANYWHERE, Parts, cover
from optimbuild.report.families import Families, Family, Indices

TRIES = 20
"""How many patterns that do not fit are passed over before no other is tried."""


class NamePatterns:
    """Finds patterns for sets of parameters of one model.

    The patterns are those of the rules, and each matches no other parameter, so that it can be copied into a config.

    Args:
        families: The names of all parameters of the model.

    >>> from optimbuild.report.families import Families
    >>> all_names = ["stem.weight", *[f"blocks.{i}.{leaf}" for i in (0, 1) for leaf in ("bias", "weight")]]
    >>> names = NamePatterns(Families(all_names))
    >>> names.summary(["blocks.0.bias", "blocks.1.bias"])
    'blocks.{0..1}.bias'
    >>> names.summary(["stem.weight", "blocks.0.weight", "blocks.1.weight"])
    '**.weight'
    >>> names.summary(["stem.weight", "blocks.0.weight", "blocks.1.bias"], width=24)
    'stem, +2 tensors'
    """

    def __init__(self, families: Families) -> None:
        self.families = families

    @classmethod
    def of(cls, inventory: Inventory) -> NamePatterns:
        """Return the patterns for the parameters of a model."""
        return cls(Families(inventory.names, inventory.aliases, inventory.position_of))

    def summary(self, names: Sequence[str], width: int = 60) -> str:
        """Return one pattern that covers the names, or as many as fit, and the number of tensors left.

        Args:
            names: Some of all names, at least one.
            width: The width to fill, in characters. No name is cut: a single pattern may be longer.
        """
        return self.covered(names).text(width)

    def each(self, names: Sequence[str]) -> list[str]:
        """Return patterns that together match the names and nothing else, as a config can have them.

        Args:
            names: Some of all names, at least one.
        """
        covered = self.covered(names)
        found = [braced([path]) for path, _ in covered]
        return found if all(map(is_accepted, found)) else [_expression(covered.parts, covered.total)]

    def covered(self, names: Sequence[str]) -> Covered:
        """Return the patterns for some of all names, at least one."""
        parts: dict[Family, list[Indices]] = {}
        for name in names:
            family, indices, _ = self.families.place(name)
            parts.setdefault(family, []).append(indices)
        return Covered(self.families, parts)


_Found = tuple[Path, Mapping[int, int]]
"""A pattern, and the pieces that it covers with their sizes in names."""


class Covered:
    """Patterns for some names, in the order in which they are shown while there is room.

    Args:
        families: All names of the model.
        parts: For some families the numbers of some members, at least one; None for all names, where ``**`` has them.
        stem: How many segments every pattern begins with.
    """

    def __init__(self, families: Families, parts: Parts | None, stem: int = 0) -> None:
        self.parts, self._families = parts or {}, families
        self.total = len(families) if parts is None else sum(map(len, parts.values()))
        self._more = self._patterns(stem)
        self._found: list[_Found] = []

    def _patterns(self, stem: int) -> Iterator[_Found]:
        if self.total == len(self._families) and self._families.are_plain:
            return iter([((ANYWHERE,), {0: self.total})])
        if self.total == 1:  # the name itself, and not a module that has nothing else
            stem = len(next(iter(self.parts)).path())
        return cover(self._families, self.parts, stem)

    def __iter__(self) -> Iterator[_Found]:
        """Yield patterns; they are computed once."""
        yield from self._found
        for found in self._more:
            self._found.append(found)
            yield found

    def has_names_of(self, other: Covered) -> bool:
        """Say whether both are of the same names."""
        if self.total == other.total == len(self._families):
            return True
        if self.total != other.total or self.parts.keys() != other.parts.keys():
            return False
        pairs = [(numbers, other.parts[family]) for family, numbers in self.parts.items()]
        return all(own is others or set(own) == set(others) for own, others in pairs)

    def text(self, width: int) -> str:
        """Return the patterns as one, as many as fit, and the number of tensors left.

        Args:
            width: The width to fill, in characters. No name is cut: a single pattern may be longer.
        """
        first = next((found for found in self if is_accepted(braced([found[0]]))), None)
        if first is None:
            return _expression(self.parts, self.total, width)
        chosen = self._fitting(width, 0)
        if sum([count for _, count in chosen]) < self.total:
            chosen = self._fitting(width, self.total) or [(first[0], sum(first[1].values()))]
        pattern, left = braced([path for path, _ in chosen]), self.total - sum([count for _, count in chosen])
        return _with_rest(pattern, left - self._by_alias(pattern) if left else 0)

    def _by_alias(self, pattern: str) -> int:
        """Return how many of the tensors a pattern catches by another name only."""
        matches, found = Pattern(pattern).matches, 0
        for family in self.parts.keys() & self._families.twins.keys():
            for indices in self.parts[family]:
                others = [_name(other, numbers) for other, numbers, _ in self._families.twins[family].get(indices, ())]
                found += any(map(matches, others)) and not matches(_name(family, indices))
        return found

    def _fitting(self, width: int, total: int) -> list[tuple[Path, int]]:
        """Return patterns that fit together, each with the number of names that it adds to those before it.

        Args:
            width: The width to fill.
            total: The number of names of which it is told how many are left out; 0 where that is not told.
        """
        chosen: list[tuple[Path, int]] = []
        covered: set[int] = set()
        misses = 0
        for path, pieces in self:
            longer = [*chosen, (path, sum([size for piece, size in pieces.items() if piece not in covered]))]
            if len(_summary(longer, total)) <= width and is_accepted(braced([path for path, _ in longer])):
                chosen = longer
                covered |= pieces.keys()
            elif (misses := misses + 1) == TRIES:
                break
        return chosen


def _summary(chosen: Sequence[tuple[Path, int]], total: int) -> str:
    """Return patterns as one, and the number of tensors that they leave out."""
    return _with_rest(braced([path for path, _ in chosen]), total - sum([count for _, count in chosen]))


def _with_rest(pattern: str, left: int) -> str:
    return f"{pattern}, +{counted(left, 'tensor')}" if left > 0 else pattern


def _name(family: Family, indices: Indices) -> str:
    """Return the name of a member of a family."""
    numbers = iter(indices)
    return ".".join([str(next(numbers)) if branch.numbered else branch.segment for branch in family.path()])


def _expression(parts: Parts, total: int, width: float = math.inf) -> str:
    """Return a regular expression of names that no glob can write."""
    chosen: list[str] = []
    for family, members in parts.items():
        for indices in members:
            longer = [*chosen, re.escape(_name(family, indices))]
            if chosen and len(_with_rest(_any_of(longer), total - len(longer))) > width:
                return _with_rest(_any_of(chosen), total - len(chosen))
            chosen = longer
    return _any_of(chosen)


def _any_of(expressions: Sequence[str]) -> str:
    inner = expressions[0] if len(expressions) == 1 else f"(?:{'|'.join(expressions)})"
    return f"{REGEX}^{inner}$"
