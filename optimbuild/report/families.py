"""Families of names: the names of a model as a tree in which all numbers of a place are one branch."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any, TypeVar, overload

T = TypeVar("T")

Indices = tuple[int, ...]
"""The numbers in a name, from left to right."""
NUMBER = "\0"
"""The segment of a family in which its names have numbers; no name holds it."""

_UNWRITABLE = re.compile(r"[*?{},\s]|\A(?:re:|\Z)")
"""What a segment must not be, or hold, to be written into a glob as it is."""
_ZEROS = str.maketrans("123456789", "000000000")
_RUN = re.compile("0+")
_LONGEST = 9
"""How many digits a number has at most; what is longer is text."""


class Members(Sequence[Indices]):
    """The numbers of the names of a family, which are read from the names when somebody looks.

    Args:
        positions: The positions of the names, in no order.
        columns: For each place of a number the texts there.
    """

    __slots__ = ("_read", "columns", "positions")

    def __init__(self, positions: list[int], columns: Sequence[list[str]]) -> None:
        self.positions, self.columns = positions, columns
        self._read: Sequence[Indices] = ()

    def add(self, positions: Sequence[int], columns: Sequence[Sequence[str]]) -> None:
        """Add names by their positions, and their numbers by place."""
        self.positions += positions
        for column, texts in zip(self.columns, columns, strict=True):
            column += texts

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> Indices: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Indices]: ...

    def __getitem__(self, index: int | slice) -> Indices | Sequence[Indices]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Indices]:
        return iter(self._all())

    def _all(self) -> Sequence[Indices]:
        if len(self._read) < len(self.positions):
            columns = [map(int, column) for column in self.columns]
            self._read = list(zip(*columns, strict=True)) if columns else [()] * len(self)
        return self._read


NO_MEMBERS = Members([], ())
"""Those of a branch in which no name ends, as of most modules."""


class Family:
    """Names that differ in their numbers only, such as ``blocks.#.norm``, and the branch of names below them.

    Args:
        above: The branch that it is in; None for the root.
        segment: Its last segment.

    Attributes:
        numbered: Whether the last segment is a number.
        places: How many numbers its names have.
        members: The names that end here.
        below: The branches, by their segments.
    """

    __slots__ = ("_caches", "above", "below", "members", "numbered", "places", "segment")

    def __init__(self, above: Family | None, segment: str) -> None:
        self.above, self.segment, self.numbered = above, segment, segment == NUMBER
        self.places: int = (above.places if above else 0) + self.numbered
        self.members = NO_MEMBERS
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

    def add(self, positions: list[int], columns: Sequence[list[str]]) -> None:
        """Add names that end here, by their positions and by their numbers at each place; the lists are kept."""
        if self.members is NO_MEMBERS:
            self.members = Members(positions, columns)
        else:
            self.members.add(positions, columns)

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
        return self._cached(length, lambda: _count(self.all(), length))

    def own(self) -> Mapping[Indices, int]:
        """Return how many names end here, by their numbers: one each."""
        return self._cached("own", lambda: _count([self], self.places))

    def values(self) -> Sequence[Sequence[int]]:
        """Return for each place of a number those that the names that end here have there, in order."""
        columns = self.members.columns
        return self._cached("values", lambda: [sorted(map(int, set(column))) for column in columns])

    def all_values(self) -> Sequence[Sequence[int]]:
        """Return for each place of a number that leads here those of the names that end here or below, in order."""
        return self._cached("all", self._all_values) if self.below else self.values()

    def _all_values(self) -> Sequence[Sequence[int]]:
        found = [family.values() for family in self.all() if family.members]
        return [sorted(set(chain.from_iterable([values[d] for values in found]))) for d in range(self.places)]

    def _cached(self, key: object, compute: Callable[[], T]) -> T:
        if self._caches is None:
            self._caches = {}
        if key not in self._caches:
            self._caches[key] = compute()
        found: T = self._caches[key]
        return found


def _count(families: Iterable[Family], length: int) -> Mapping[Indices, int]:
    """Return how many names of some families there are, by their first numbers."""
    found: Counter[tuple[str, ...]] = Counter()
    for family in families:
        found.update(zip(*family.members.columns[:length], strict=True))
    return {tuple(map(int, texts)): count for texts, count in found.items()}


Place = tuple[Family, Indices, int]
"""Where a name is: its family, its numbers, and its position in model order."""


class Families:
    """The families of all names of a model. They are made when somebody looks.

    Args:
        names: The parameters' names, in model order.
        aliases: The other names of some of them.
        positions: The position of each in model order, where that is known already. It may know aliases too.

    >>> families = Families(["blocks.0.norm", "blocks.1.norm", "head"])
    >>> family, indices, position = families.place("blocks.1.norm")
    >>> [branch.numbered for branch in family.path()], indices, position, family.total()
    ([False, True, False], (1,), 1, 2)
    """

    def __init__(
        self,
        names: Sequence[str],
        aliases: Mapping[str, Sequence[str]] | None = None,
        positions: Mapping[str, int] | None = None,
    ) -> None:
        self.names = names
        self.positions = positions or dict(zip(names, range(len(names)), strict=True))
        self.aliases = [(other, name) for name, others in (aliases or {}).items() for other in others]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def are_plain(self) -> bool:
        """Whether ``**`` matches all names: none begins with an empty segment."""
        text = "\n".join(["", *self.names, ""])
        return "\n\n" not in text and "\n." not in text

    @cached_property
    def root(self) -> Family:
        """The branch of all names, aliases included."""
        return self._grown[0]

    @property
    def with_names(self) -> Sequence[Family]:
        """The families in which names end, aliases included."""
        return self._grown[1]

    @cached_property
    def _grown(self) -> tuple[Family, Sequence[Family]]:
        """The branch of all names, and the families in which names end."""
        root, names = Family(None, ""), [*self.names, *[alias for alias, _ in self.aliases]]
        keys = "\n".join(names).translate(_ZEROS).split("\n")  # no name holds a line break
        alike: defaultdict[str, list[int]] = defaultdict(list)
        for position, key in enumerate(keys):
            alike[key].append(position)
        grown: list[Family] = []
        for key, positions in alike.items():
            for family, own, columns in _parts(root, key, positions, names):
                if not family.members:
                    grown.append(family)
                family.add(own, columns)
        return root, grown

    def place(self, name: str) -> Place:
        """Return where a name is."""
        position = self.positions[name]
        return (*self._places[position], position)

    @cached_property
    def _places(self) -> Sequence[tuple[Family, Indices]]:
        """For each position the family and the numbers of the name; those of the aliases follow."""
        found: list[tuple[Family, Indices]] = [(self.root, ())] * (len(self.names) + len(self.aliases))
        for family in self.with_names:
            for position, indices in zip(family.members.positions, family.members, strict=True):
                found[position] = family, indices
        return found

    @cached_property
    def twins(self) -> Mapping[Family, Mapping[Indices, Sequence[Place]]]:
        """The places of aliases, by the family and the numbers of the name."""
        twins: dict[Family, dict[Indices, list[Place]]] = {}
        for number, (_, name) in enumerate(self.aliases, len(self.names)):
            family, indices, position = self.place(name)
            twins.setdefault(family, {}).setdefault(indices, []).append((*self._places[number], position))
        return twins

    @cached_property
    def by_segment(self) -> Mapping[str, Sequence[Family]]:
        """The families by their last segment, numbers left out."""
        found: dict[str, list[Family]] = {}
        for family in self.root.all():
            if not family.numbered:
                found.setdefault(family.segment, []).append(family)
        return found


def _parts(
    root: Family, key: str, positions: list[int], names: Sequence[str]
) -> Iterator[tuple[Family, list[int], Sequence[list[str]]]]:
    """Yield the families of names that are equal but for their digits: with the names' positions, and their numbers.

    Args:
        root: The branch of all names.
        key: What the names are when all their digits are zeros.
        positions: The positions of the names.
        names: The names of all positions.
    """
    if "0" not in key:
        yield _family(root, key), positions, ()
        return
    runs = [found.span() for found in _RUN.finditer(key)]
    columns = [[names[position][start:end] for position in positions] for start, end in runs]
    if all(_is_number(key, *run, min(column)) for run, column in zip(runs, columns, strict=True)):
        yield _family(root, _RUN.sub(NUMBER, key)), positions, columns
        return
    apart: dict[tuple[str, ...], list[int]] = {}
    for row, digits in enumerate(zip(*columns, strict=True)):
        inner = [NUMBER if _is_number(key, *run, found) else found for run, found in zip(runs, digits, strict=True)]
        apart.setdefault(tuple(inner), []).append(row)
    for texts, rows in apart.items():
        path = "".join(chain.from_iterable(zip_longest(_RUN.split(key), texts, fillvalue="")))
        numbers = [[column[row] for row in rows] for column, text in zip(columns, texts, strict=True) if text == NUMBER]
        yield _family(root, path), [positions[row] for row in rows], numbers


def _is_number(key: str, start: int, end: int, digits: str) -> bool:
    """Say whether digits at a place of a name are a segment, and written as whole numbers are."""
    alone = key[start - 1 : start] in ("", ".") and key[end : end + 1] in ("", ".")
    return alone and end - start <= _LONGEST and (digits[0] != "0" or end - start == 1)


def _family(root: Family, path: str) -> Family:
    """Return the family of names whose numbers were replaced by :data:`NUMBER`."""
    family = root
    for segment in path.split("."):
        found = family.below.get(segment)
        if found is None:
            found = family.below[segment] = Family(family, segment)
        family = found
    return family
