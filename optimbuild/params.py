"""What a plan knows about a model: its parameters, in an inventory with its hooks."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from optimbuild.errors import ModelError, closest, listing, shown
from optimbuild.hooks import HOOKS, Hooks, checked_answers
from optimbuild.kinds import KINDS, kinds_of
from optimbuild.patterns import Pattern

_MARKUP = re.compile(r"\[[a-z/#@][^\[\]]*\]|<[a-zA-Z/!][^<>]*>")
LONGEST = 1000
"""How many characters a name may have."""


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """One parameter, as much of it as a rule may look at.

    Args:
        name: Canonical name: the prefixes of wrappers (DDP, FSDP, compile, checkpoint) are removed.
        shape: The full shape, also where the tensor itself is a shard.
        dtype: Such as ``float32``.
        owner: Class name of the module that owns it.
        bases: That class's ``torch.nn`` ancestors, itself included where it is one.
        kinds: Any of ``norm``, ``bias``, ``embedding``, ``linear``, ``conv``, ``depthwise``, ``deformable``.
        trainable: ``requires_grad`` before the build.
        aliases: Its other names, where modules share one tensor.

    >>> ParamInfo("head.bias", (10,), owner="Linear", bases=("Linear",)).numel
    10
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    owner: str = ""
    bases: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    trainable: bool = True
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


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


@dataclass(frozen=True)
class Inventory:
    """A model's parameters in ``named_parameters()`` order, and its hooks.

    Args:
        params: The parameters; any iterable of them becomes :class:`Params`.
        hooks: What the model's own methods answer.
        model: Class name of the model.
        unfused: Names that no fused kernel can take, for their sparse gradients or their device.
        sharded: Names whose tensors are shards (``DTensor``, as FSDP2 makes them), which only some fused kernels take.
        on_cpu: Whether all tensors are on the CPU, where kernels for many tensors pay only within bounds. An inventory
            file does not say; what it is planned for is taken to be an accelerator.

    Raises:
        ModelError: No parameters, a name twice, or a name with control characters or markup.

    >>> inventory = Inventory((ParamInfo("head.weight", (10, 4)), ParamInfo("head.bias", (10,))))
    >>> inventory["head.bias"].shape
    (10,)
    """

    params: Sequence[ParamInfo]
    hooks: Hooks = field(default_factory=Hooks, compare=False, repr=False)
    model: str = field(default="", compare=False)
    unfused: frozenset[str] = field(default=frozenset(), compare=False)
    sharded: frozenset[str] = field(default=frozenset(), compare=False)
    on_cpu: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.params, Params):
            object.__setattr__(self, "params", Params(self.params))
        _refuse_unreadable("model name", self.model)
        if not self.params:
            raise ModelError(f"{self.model or 'the model'} has no parameters, so there is nothing to optimize")
        names = self._positions  # refuses a name that stands twice
        if max(map(len, names)) > LONGEST or _garbles("".join(names)):  # one look at all of them is cheap
            for name in names:
                _refuse_unreadable("parameter name", name)

    @property
    def columns(self) -> Params:
        """The parameters, as what has columns of them."""
        return self.params  # type: ignore[return-value]  # what __post_init__ makes of any sequence

    def apart(self) -> Inventory:
        """Return the same inventory, except that what its hooks answer from now on is not noted in this one."""
        other = copy.copy(self)  # without looking at all names again
        object.__setattr__(other, "hooks", self.hooks.copy())
        return other

    def __len__(self) -> int:
        return len(self.params)

    def __iter__(self) -> Iterator[ParamInfo]:
        return iter(self.params)

    def __getitem__(self, name: str) -> ParamInfo:
        return self.params[self.position(name)]

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, aliases left out."""
        return self.columns.names

    def position(self, name: str) -> int:
        """Return where a parameter stands, by its name or an alias.

        Raises:
            ModelError: No parameter has this name; says which ones are close.
        """
        try:
            return self._positions[name]
        except KeyError:
            close = self.closest(name)
            hint = f" Closest: {listing(close)}." if close else ""
            raise ModelError(f"{self.model or 'the model'} has no parameter {shown(name)}.{hint}") from None

    @cached_property
    def _positions(self) -> dict[str, int]:
        positions = dict(zip(self.names, range(len(self.names)), strict=True))
        if len(positions) < len(self.names):
            twice, _ = Counter(self.names).most_common(1)[0]
            raise ModelError(f"two parameters have the name {shown(twice)}")
        for position, aliases in enumerate(self.columns.aliases) if any(self.columns.aliases) else ():
            for name in aliases:
                if positions.setdefault(name, position) != position:
                    raise ModelError(f"two parameters have the name {shown(name)}")
        return positions

    def closest(self, name: str, n: int = 3) -> list[str]:
        """Return the real names of parameters and modules that resemble ``name`` most."""
        known: dict[str, None] = {}
        for param in self.params[:20_000]:
            segments = param.name.split(".")
            for length in range(1, len(segments) + 1):
                known[".".join(segments[:length])] = None
        tail = name.replace("*", "").strip(".")
        found = closest(name, known, n) or closest(tail, known, n)
        return found or [k for k in known if tail and tail.rsplit(".", 1)[-1] in k][:n]

    def matching(self, pattern: Pattern) -> list[ParamInfo]:
        """Return the parameters of which the name or an alias matches."""
        found = pattern.regex.search
        return [p for p in self.params if found(p.name) or (p.aliases and any(found(a) for a in p.aliases))]

    def containing(self, keyword: str) -> list[ParamInfo]:
        """Return the parameters of which the name or an alias contains a piece of text."""
        return [self.params[position] for position in self.positions_containing(keyword)]

    def positions_containing(self, keyword: str) -> list[int]:
        """Return where the parameters stand of which the name or an alias contains a piece of text."""
        if keyword not in self._text:
            return []
        found = [place for place, name in enumerate(self.names) if keyword in name]
        aliases = enumerate(self.columns.aliases) if any(self.columns.aliases) else ()
        also = [place for place, others in aliases if any(keyword in name for name in others)]
        return sorted({*found, *also}) if also else found

    @cached_property
    def _text(self) -> str:
        """All names and aliases."""
        return "\n".join(self._positions)

    def to_dict(self) -> dict[str, Any]:
        """Return the inventory as JSON data, the form of an inventory file."""
        return {
            "model": self.model,
            "params": [param_to_dict(param) for param in self.params],
            "hooks": self.hooks.answers,
            **({"unfused": sorted(self.unfused)} if self.unfused else {}),
            **({"sharded": sorted(self.sharded)} if self.sharded else {}),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Inventory:
        """Return the inventory that :meth:`to_dict` wrote; ``dtype``, ``kinds`` and ``aliases`` may be missing.

        Raises:
            ModelError: It is not an inventory; says what is wrong and where.
        """
        if not isinstance(data, dict) or not isinstance(data.get("params"), list):
            raise ModelError("not an inventory: it must be an object with a list `params`")
        rows, hooks, model = data["params"], data.get("hooks") or {}, data.get("model") or ""
        if not isinstance(hooks, dict) or not set(hooks) <= set(HOOKS):
            raise ModelError(f"`hooks` must be an object with any of: {listing(HOOKS)}")
        if not isinstance(model, str):
            raise ModelError(f"`model` must be a name, not {shown(model)}")
        for i, row in enumerate(rows):
            _refuse_row(row, i)
        shapes = {row["name"]: row["shape"] for row in rows}
        params = tuple([param_from_dict(row, shapes) for row in rows])
        unfused, sharded = _names_in(data, "unfused"), _names_in(data, "sharded")
        return cls(params, Hooks(checked_answers(hooks)), model, unfused, sharded)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Inventory:
        """Read an inventory file, as ``optimbuild inventory`` writes it.

        Raises:
            ModelError: The file is missing, not JSON, or not an inventory.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text("utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"not JSON ({shown(str(error))})"
            raise ModelError(f"inventory {shown(os.fspath(path), 300)}: {reason}") from None
        except ModelError as error:
            raise ModelError(f"inventory {shown(os.fspath(path), 300)}: {error}") from error


def _names_in(data: Mapping[str, Any], key: str) -> frozenset[str]:
    names = data.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"`{key}` must be a list of names, not {shown(names)}")
    return frozenset(names)


def param_to_dict(param: ParamInfo) -> dict[str, Any]:
    """Return a parameter as JSON data."""
    return {
        "name": param.name,
        "shape": list(param.shape),
        "dtype": param.dtype,
        "owner": param.owner,
        "bases": list(param.bases),
        "kinds": sorted(param.kinds),
        "trainable": param.trainable,
        "aliases": list(param.aliases),
    }


def param_from_dict(row: Mapping[str, Any], shapes: Mapping[str, Any]) -> ParamInfo:
    """Return the parameter that :func:`param_to_dict` wrote; ``shapes`` are those of the model, by name."""
    name, owner, bases, kinds = row["name"], row.get("owner", ""), tuple(row.get("bases", ())), row.get("kinds")
    if kinds is None:
        module, dot, _ = name.rpartition(".")
        known = kinds_of(name, owner, bases, shapes.get(f"{module}{dot}weight"))
    else:
        known = frozenset(kinds)
    return ParamInfo(
        name,
        tuple(row["shape"]),
        row.get("dtype", "float32"),
        owner,
        bases,
        known,
        row.get("trainable", True),
        tuple(row.get("aliases", ())),
    )


def _refuse_row(row: Any, position: int) -> None:
    """Raise a ModelError for a row of an inventory file that is no parameter."""
    if not isinstance(row, dict):
        raise ModelError(f"params[{position}] must be an object, not {shown(row)}")
    for key, (form, fits) in _FORMS.items():
        if (key in row or key in ("name", "shape")) and not fits(row.get(key)):
            raise ModelError(f"params[{position}].{key} must be {form}, not {shown(row.get(key))}")


def _is_readable(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST and text.isprintable() and not _MARKUP.search(text)


def _are_readable(texts: Any) -> bool:
    return isinstance(texts, list) and all(map(_is_readable, texts))


_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name", lambda found: isinstance(found, str) and found != ""),
    "shape": (
        "a list of whole numbers",
        lambda found: isinstance(found, list) and all(type(size) is int and 0 <= size < 2**63 for size in found),
    ),
    "dtype": ("a name, such as float32", _is_readable),
    "owner": ("the name of a class", _is_readable),
    "bases": ("a list of names of classes", _are_readable),
    "kinds": (
        f"a list of any of {', '.join(KINDS)}",
        lambda found: isinstance(found, list) and all(kind in KINDS for kind in found),
    ),
    "trainable": ("true or false", lambda found: isinstance(found, bool)),
    "aliases": ("a list of names", _are_readable),
}
"""What a row of an inventory file holds; everything but name and shape may be missing."""


_PRINTABLE = bytes(range(32, 127))


def _garbles(text: str) -> bool:
    # of many names it takes a fifth of the time to see that they are all ASCII, and what is left without its characters
    printable = not text.encode().translate(None, _PRINTABLE) if text.isascii() else text.isprintable()
    return not printable or (("[" in text or "<" in text) and _MARKUP.search(text) is not None)


def _refuse_unreadable(what: str, text: str) -> None:
    if len(text) > LONGEST:
        raise ModelError(f"{what} {shown(text)} has {len(text)} characters; at most {LONGEST} can be read")
    if _garbles(text):
        raise ModelError(
            f"{what} {shown(text)} holds control characters or markup, which would garble every log and report. "
            "Rename it in the model."
        )
