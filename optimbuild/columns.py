"""One value for each of many parameters, of which many have the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import Generic, TypeVar

T = TypeVar("T")


class Column(Mapping[str, T], Generic[T]):
    """A mapping from names to values, and the same in the order of all parameters.

    Many parameters share few values, so each parameter has a number, and each number a value.

    Args:
        names: All parameters, those without a value too.
        numbers: For every parameter the place of its value in ``table``; 0 where it has none.
        table: The values by their numbers; the first one is None.

    >>> column = Column(("fc.weight", "fc.bias"), [0, 1], [None, "no decay"])
    >>> dict(column), column.distinct
    ({'fc.bias': 'no decay'}, ['no decay'])
    """

    def __init__(self, names: Sequence[str], numbers: Sequence[int], table: Sequence[T | None]) -> None:
        self.names, self.numbers, self.table = names, numbers, table

    @classmethod
    def of(cls, names: Sequence[str], values: Sequence[T | None]) -> Column[T]:
        """Return the column of what each parameter has, a value or None; values are told apart by their identity."""
        ids = list(map(id, values))
        distinct: dict[int, T | None] = {id(None): None, **dict(zip(ids, values, strict=True))}
        number = dict(zip(distinct, range(len(distinct)), strict=True))
        return cls(names, list(map(number.__getitem__, ids)), list(distinct.values()))

    def complete(self) -> dict[str, T | None]:
        """Return the value of every parameter, None where it has none."""
        return dict(zip(self.names, map(self.table.__getitem__, self.numbers), strict=True))

    @property
    def fits(self) -> bool:
        """Whether every parameter has a number, each number a place in the table, and 0 stands for none."""
        numbers, table = self.numbers, self.table
        return (
            len(numbers) == len(self.names)
            and bool(table)
            and table[0] is None
            and min(numbers, default=0) >= 0
            and max(numbers, default=0) < len(table)
        )

    @property
    def distinct(self) -> list[T]:
        """The values, without None."""
        return [value for value in self.table if value is not None]

    @cached_property
    def _by_name(self) -> dict[str, T]:
        return {name: value for name, value in self.complete().items() if value is not None}

    def __getitem__(self, name: str) -> T:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return compress(self.names, self.numbers)

    def __len__(self) -> int:
        return len(self.numbers) - self.numbers.count(0)

    def __bool__(self) -> bool:
        return any(self.numbers)

    def __repr__(self) -> str:
        return repr(self._by_name)
