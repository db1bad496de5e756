"""Families of names: the names of a model as a tree in which all numbers of a place are one branch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")

Indices = tuple[int, ...]
"""The numbers in a name, from left to right."""
NUMBER = "\0"
"""The segment of a family in which its names have numbers; no name holds it."""

_UNWRITABLE = re.compile(r"[*?{},\s]|\A(?:re:|\Z)")
"""What a segment must not be, or hold, to be written into a glob as it is."""


class Family:
    """Names that differ in their numbers only, such as ``blocks.#.norm``, and the branch of names below them.

    Args:
        above: The branch that it is in; None for the root.
        segment: Its last segment.
        numbered: Whether that segment is a number.

    Attributes:
        members: The numbers of the names that end here.
        below: The branches, by their segments.
    """

    __slots__ = ("_caches", "above", "below", "members", "numbered", "segment")

    def __init__(self, above: Family | None, segment: str, numbered: bool) -> None:
        self.above, self.segment, self.numbered = above, segment, numbered
        self.members: list[Indices] = []
        self.below: dict[str, Family] = {}
        self._caches: dict[object, Any] | None = None  # most of the many families of a large model have none

    def path(self) -> list[Family]:
        """Return the branches that lead here, itself included, the root left out."""
        found: list[Family] = []
        branch = self
        while branch.above is not None:
            found.append(branch)
            branch = branch.above
        return found[::-1]

    def is_writable(self) -> bool:
        """Say whether a glob can have the last segment as it is."""
        return self.numbered or not _UNWRITABLE.search(self.segment)

    def total(self) -> int:
        """Return the number of names that end here or below."""
        if not self.below:
            return len(self.members)
        return self._cached("total", lambda: sum([len(family.members) for family in self.all()]))

    def all(self) -> Iterator[Family]:
        """Yield the family itself and every one below it."""
        left = [self]
        while left:
            family = left.pop()
            yield family
            left += family.below.values()

    def counts(self, length: int) -> Mapping[Indices, int]:
        """Return how many names end here or below, by their first numbers.

        Args:
            length: How many numbers.
        """
        return self._cached(length, lambda: self._count(length))

    def _count(self, length: int) -> Mapping[Indices, int]:
        found: Counter[Indices] = Counter()
        for family in self.all():
            found.update([indices[:length] for indices in family.members])
        return found

    def own(self) -> Mapping[Indices, int]:
        """Return the numbers of the names that end here, each with a count of 1."""
        return self._cached("own", lambda: dict.fromkeys(self.members, 1))

    def values(self) -> Sequence[Sequence[int]]:
        """Return for each place of a number those that the names that end here have there, in order."""
        places = range(len(self.members[0]))
        return self._cached("values", lambda: [sorted({indices[d] for indices in self.members}) for d in places])

    def _cached(self, key: object, compute: Callable[[], T]) -> T:
        if self._caches is None:
            self._caches = {}
        if key not in self._caches:
            self._caches[key] = compute()
        found: T = self._caches[key]
        return found


Place = tuple[Family, Indices, int]
"""Where a name is: its family, its numbers, and its position in model order."""


class Families:
    """The families of all names of a model.

    Args:
        names: The parameters' names, in model order.
        aliases: The other names of some of them.

    Attributes:
        family_at: For each position in model order the family of the name.
        indices_at: For each position the numbers of the name.
        positions: For each name its position.
        twins: The places of aliases, by the family and the numbers of the name.

    >>> families = Families(["blocks.0.norm", "blocks.1.norm", "head"])
    >>> family, indices, position = families.place("blocks.1.norm")
    >>> [branch.numbered for branch in family.path()], indices, position, family.total()
    ([False, True, False], (1,), 1, 2)
    """

    def __init__(self, names: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        self.root = Family(None, "", False)
        self._modules: dict[str, tuple[Family, Indices]] = {"": (self.root, ())}
        self._module, self._inner = "", self._modules[""]
        self.family_at: list[Family] = []
        self.indices_at: list[Indices] = []
        for name in names:
            family, indices = self._added(name)
            self.family_at.append(family)
            self.indices_at.append(indices)
        self.positions = {name: position for position, name in enumerate(names)}
        self.twins: dict[Family, dict[Indices, list[Place]]] = {}
        for name, others in (aliases or {}).items():
            family, indices, position = self.place(name)
            found = self.twins.setdefault(family, {}).setdefault(indices, [])
            found += [(*self._added(other), position) for other in others]

    def __len__(self) -> int:
        return len(self.family_at)

    def place(self, name: str) -> Place:
        """Return where a name is."""
        position = self.positions[name]
        return self.family_at[position], self.indices_at[position], position

    @cached_property
    def by_segment(self) -> Mapping[str, Sequence[Family]]:
        """The families by their last segment, numbers left out."""
        found: dict[str, list[Family]] = {}
        for family in self.root.all():
            if not family.numbered:
                found.setdefault(family.segment, []).append(family)
        return found

    def _added(self, name: str) -> tuple[Family, Indices]:
        """Add a name, and return its family and its numbers."""
        module, _, segment = f".{name}".rpartition(".")
        if module != self._module:  # the names of a module mostly come together, and most modules have few
            above, _, own = module.rpartition(".")
            self._module, self._inner = module, _inside(*self._known(above), own) if module else (self.root, ())
        family, indices = self._inner
        found = family.below.get(segment)  # nearly always
        if found is None:
            found, indices = _inside(family, indices, segment)
        found.members.append(indices)
        return found, indices

    def _known(self, module: str) -> tuple[Family, Indices]:
        """Return the family and the numbers of a module, which is remembered with the modules around it."""
        known, missing = self._modules, []
        while (found := known.get(module)) is None:
            missing.append(module)
            module = module.rpartition(".")[0]
        for inner in reversed(missing):
            found = known[inner] = _inside(*found, inner.rpartition(".")[2])
        return found


def _inside(family: Family, indices: Indices, segment: str) -> tuple[Family, Indices]:
    """Return the family and the numbers one segment further."""
    found = family.below.get(segment)
    if found is not None:  # no branch of numbers has a number for its segment
        return found, indices
    if segment.isdecimal() and segment.isascii() and len(segment) < 10 and str(int(segment)) == segment:
        indices, segment = (*indices, int(segment)), NUMBER
        found = family.below.get(NUMBER)
    if found is None:
        found = family.below[segment] = Family(family, segment, segment is NUMBER)
    return found, indices
