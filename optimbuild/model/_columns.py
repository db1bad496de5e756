"""One value for each of many parameters, of which many have the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Generic, TypeVar, overload

from optimbuild.model.param_info import ParamInfo

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


@dataclass(frozen=True, slots=True)
class Sort:
    """What parameters of modules of one class have in common.

    Args:
        owner: As in :class:`ParamInfo`.
        bases: As there.
        kinds: As there.
    """

    owner: str
    bases: tuple[str, ...]
    kinds: frozenset[str]


class Params(Sequence[ParamInfo]):
    """Parameters in model order: a sequence of :class:`ParamInfo`, and its columns.

    It is made from either, and makes the other when somebody looks at it. So a model is planned without a value for
    each of its parameters, as long as its rules look at columns only.

    Args:
        rows: The parameters.

    >>> params = Params([ParamInfo("fc.weight", (2, 4)), ParamInfo("fc.bias", (2,))])
    >>> params.names, params[1].shape
    (('fc.weight', 'fc.bias'), (2,))
    """

    def __init__(self, rows: Iterable[ParamInfo]) -> None:
        self.rows = tuple(rows)

    @classmethod
    def of_columns(
        cls,
        names: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[str],
        sorts: Sequence[Sort],
        trainable: Sequence[bool],
        aliases: Sequence[tuple[str, ...]],
    ) -> Params:
        """Return the parameters of some columns, all of one length."""
        params = cls.__new__(cls)
        params.names, params.shapes, params.dtypes = tuple(names), shapes, dtypes
        params.sorts, params.trainable, params.aliases = sorts, trainable, aliases
        return params

    @cached_property
    def rows(self) -> tuple[ParamInfo, ...]:
        """The parameters."""
        return tuple(map(_param, self.names, self.shapes, self.dtypes, self.sorts, self.trainable, self.aliases))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names, aliases left out."""
        return tuple([param.name for param in self.rows])

    @cached_property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Their full shapes."""
        return [param.shape for param in self.rows]

    @cached_property
    def dtypes(self) -> Sequence[str]:
        """Their dtypes."""
        return [param.dtype for param in self.rows]

    @cached_property
    def sorts(self) -> Sequence[Sort | ParamInfo]:
        """What has the owner, the bases and the kinds of each."""
        return self.rows

    @cached_property
    def trainable(self) -> Sequence[bool]:
        """Which of them are trainable before the build."""
        return [param.trainable for param in self.rows]

    @cached_property
    def aliases(self) -> Sequence[tuple[str, ...]]:
        """Their other names."""
        return [param.aliases for param in self.rows]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[ParamInfo]:
        return iter(self.rows)

    @overload
    def __getitem__(self, place: int) -> ParamInfo: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[ParamInfo, ...]: ...

    def __getitem__(self, place: int | slice) -> ParamInfo | tuple[ParamInfo, ...]:
        return self.rows[place]

    def __add__(self, others: Iterable[ParamInfo]) -> tuple[ParamInfo, ...]:
        return (*self.rows, *others)

    def __eq__(self, other: object) -> bool:
        return self.rows == (other.rows if isinstance(other, Params) else other)

    def __hash__(self) -> int:
        return hash(self.rows)

    def __repr__(self) -> str:
        return repr(self.rows)

    def __reduce__(self) -> tuple[type[Params], tuple[tuple[ParamInfo, ...]]]:
        return Params, (self.rows,)  # without what only torch can read


class _Draft:
    """A :class:`ParamInfo` in the making.

    Constructing a frozen dataclass takes four times as long as setting the same slots and then changing the class.
    """

    __slots__ = ParamInfo.__slots__  # the same ones, or the class could not be changed

    name: str
    shape: tuple[int, ...]
    dtype: str
    owner: str
    bases: tuple[str, ...]
    kinds: frozenset[str]
    trainable: bool
    aliases: tuple[str, ...]


def _param(
    name: str, shape: tuple[int, ...], dtype: str, sort: Sort, trainable: bool, aliases: tuple[str, ...]
) -> ParamInfo:
    draft = _Draft()
    draft.name = name
    draft.shape = tuple(shape)  # torch's own kind of tuple looks different where it is printed
    draft.dtype = dtype
    draft.owner, draft.bases, draft.kinds = sort.owner, sort.bases, sort.kinds
    draft.trainable = trainable
    draft.aliases = aliases
    draft.__class__ = ParamInfo  # type: ignore[assignment]
    return draft  # type: ignore[return-value]
