"""What a plan knows about a model: its parameters, and what its hooks answer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from optimbuild.errors import ModelError, closest, listing, shown
from optimbuild.patterns import Pattern
from optimbuild.values import finite

KINDS = ("norm", "bias", "embedding", "linear", "conv", "depthwise", "deformable")
"""What a parameter can be; it may be several of them, or none."""

_NORM = re.compile(r"[Nn]orm(\d*[dD])?\d*$")
_NORM_BASES = re.compile(r"^_?(Lazy)?(BatchNorm|InstanceNorm|SyncBatchNorm|LayerNorm|GroupNorm|RMSNorm|NormBase)")
_CONV = re.compile(r"^_?(Lazy)?Conv(Transpose)?(\d[dD]|Nd)$")
_EMBEDDING = re.compile(r"Embedding(Bag)?$")
_DEFORMABLE = re.compile(r"Deform(able)?_?Conv|^DCN", re.IGNORECASE)
_MARKUP = re.compile(r"\[[a-z/#@][^\[\]]*\]|<[a-zA-Z/!][^<>]*>")


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
        count = 1
        for size in self.shape:
            count *= size
        return count


@lru_cache(maxsize=4096)
def _owner_kinds(owner: str, bases: tuple[str, ...]) -> frozenset[str]:
    kinds = set()
    if _NORM.search(owner) or any(_NORM_BASES.match(base) for base in bases):
        kinds.add("norm")
    if any(_EMBEDDING.search(c) for c in (owner, *bases)):
        kinds.add("embedding")
    if "Linear" in (owner, *bases) or "LazyLinear" in bases:
        kinds.add("linear")
    if any(_CONV.match(c) for c in (owner, *bases)):
        kinds.add("conv")
    if _DEFORMABLE.search(owner):
        kinds.add("deformable")
    return frozenset(kinds)


_DEPTHWISE = re.compile(r"^(Lazy)?Conv\d[dD]$")


def kinds_of(
    name: str, owner: str, bases: tuple[str, ...], weight_shape: Sequence[int] | None = None
) -> frozenset[str]:
    """Return the kinds of a parameter, from its name, its owner and the shape of its owner's weight.

    Args:
        name: The parameter's name.
        owner: Class name of the owning module.
        bases: The ``torch.nn`` ancestors of that class.
        weight_shape: Shape of the owner's ``weight``, for a bias also; a convolution is
            depth-wise where each filter sees one channel, as MMEngine has it.

    >>> sorted(kinds_of("dw.bias", "Conv2d", ("Conv2d",), (64, 1, 3, 3)))
    ['bias', 'conv', 'depthwise']
    >>> sorted(kinds_of("ln.weight", "LlamaRMSNorm", ()))
    ['norm']
    """
    kinds = _owner_kinds(owner, bases)
    if name == "bias" or name.endswith(".bias"):
        kinds |= {"bias"}
    if "conv" in kinds and weight_shape is not None and len(weight_shape) > 2 and weight_shape[1] == 1:
        if any(_DEPTHWISE.match(c) for c in (owner, *bases)):
            kinds |= {"depthwise"}
    return kinds


HOOKS = ("no_weight_decay", "no_weight_decay_keywords", "lr_decay_keywords", "get_layer_depth", "group_matcher")
RATIOS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.95)
"""The ratios for which an inventory file keeps what ``lr_decay_keywords(ratio)`` answers, unless told others."""


class Hooks:
    """What a model's own methods answer: asked when needed, or looked up where they were written down.

    Args:
        answers: By hook; those that take an argument by its ``repr`` (the name itself for ``get_layer_depth``).
        live: The model's bound methods, by hook.
    """

    def __init__(
        self, answers: Mapping[str, Any] | None = None, live: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self.answers: dict[str, Any] = dict(answers or {})
        self._live = dict(live or {})

    def offers(self, hook: str) -> bool:
        """Say whether the model has this hook."""
        return hook in self._live or hook in self.answers

    def no_weight_decay(self) -> frozenset[str]:
        """Return the names for which the model wants no weight decay."""
        return frozenset(self._ask("no_weight_decay", _names))

    def no_weight_decay_keywords(self) -> tuple[str, ...]:
        """Return the pieces of names for which the model wants no weight decay."""
        return tuple(self._ask("no_weight_decay_keywords", _names))

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        """Return LR factors by a piece of the name, in the model's order.

        Raises:
            ModelError: An inventory file does not hold the answer for this ratio.
        """
        found: dict[str, float] = self._ask_for("lr_decay_keywords", repr(ratio), ratio, _factors)
        return found

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Return a parameter's layer, counted from the input, and the number of layers."""
        found = self._ask_for("get_layer_depth", name, name, _depth)
        return found[0], found[1]

    def group_matcher(self, coarse: bool = False) -> Any:
        """Return what timm calls a group matcher: regular expressions by layer, or a callable."""
        return self._ask_for("group_matcher", repr(coarse), coarse, lambda answer: answer)

    def record(self, names: Sequence[str], ratios: Sequence[float] = RATIOS) -> None:
        """Ask everything that an inventory file keeps, so that :attr:`answers` holds it."""
        for hook in ("no_weight_decay", "no_weight_decay_keywords"):
            if hook in self._live:
                getattr(self, hook)()
        for ratio in ratios if "lr_decay_keywords" in self._live else ():
            self.lr_decay_keywords(ratio)
        for name in names if "get_layer_depth" in self._live else ():
            self.get_layer_depth(name)
        if "group_matcher" in self._live:
            matcher = self.group_matcher()
            if not isinstance(matcher, Mapping):
                raise ModelError("group_matcher() answers with a callable, which an inventory file cannot hold")

    def _ask(self, hook: str, check: Callable[[str, Any], Any]) -> Any:
        if hook not in self.answers:
            if hook not in self._live:
                return ()
            self.answers[hook] = check(hook, self._call(hook))
        return self.answers[hook]

    def _ask_for(self, hook: str, key: str, argument: Any, check: Callable[[Any], Any]) -> Any:
        known = self.answers.setdefault(hook, {})
        if key not in known:
            if hook not in self._live:
                raise ModelError(
                    f"this inventory does not know what {hook}({shown(argument)}) answers, only for: "
                    f"{listing(list(known), 10) or 'nothing'}. Write it again from the model with "
                    "`optimbuild inventory`" + (f" --ratio {argument}" if hook == "lr_decay_keywords" else "")
                )
            answer = self._call(hook, argument)
            try:
                known[key] = check(answer)
            except (TypeError, ValueError) as error:
                raise ModelError(f"{hook}({shown(argument)}) of the model answered {shown(answer)}: {error}") from None
        return known[key]

    def _call(self, hook: str, *arguments: Any) -> Any:
        try:
            return self._live[hook](*arguments)
        except Exception as error:
            asked = ", ".join(shown(a) for a in arguments)
            raise ModelError(
                f"{hook}({asked}) of the model raised {type(error).__name__}: {shown(str(error), 200)}. "
                "Mend the hook, or switch it off: `hints: false` in no_decay, `layers` by hand in layer_decay."
            ) from error


def _names(hook: str, answer: Any) -> list[str]:
    if answer is None:
        return []
    if isinstance(answer, (str, bytes)) or not hasattr(answer, "__iter__"):
        raise ModelError(f"{hook}() of the model must answer with names, not {shown(answer)}")
    names = list(answer)
    if not all(isinstance(name, str) for name in names):
        raise ModelError(f"{hook}() of the model must answer with names, not {shown(names)}")
    return sorted(names) if isinstance(answer, (set, frozenset)) else names


def _factors(answer: Any) -> dict[str, float]:
    if not isinstance(answer, Mapping):
        raise TypeError("it must be a mapping from a piece of a name to an LR factor")
    for keyword, factor in answer.items():
        if not isinstance(keyword, str) or not keyword or not finite(factor) or factor < 0:
            raise ValueError(f"{shown(keyword)}: {shown(factor)} is no LR factor for a piece of a name")
    return dict(answer)


def _depth(answer: Any) -> tuple[int, int]:
    layer, layers = answer
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (layer, layers)) or not 0 <= layer < layers:
        raise ValueError("it must be the layer, counted from 0, and the number of layers")
    return layer, layers


@dataclass(frozen=True)
class Inventory:
    """A model's parameters in ``named_parameters()`` order, and its hooks.

    Args:
        params: The parameters.
        hooks: What the model's own methods answer.
        model: Class name of the model.
        unfused: Names that no fused kernel can take, for their sparse gradients or their device.

    Raises:
        ModelError: No parameters, a name twice, or a name with control characters or markup.

    >>> inventory = Inventory((ParamInfo("head.weight", (10, 4)), ParamInfo("head.bias", (10,))))
    >>> inventory["head.bias"].shape
    (10,)
    """

    params: tuple[ParamInfo, ...]
    hooks: Hooks = field(default_factory=Hooks, compare=False, repr=False)
    model: str = field(default="", compare=False)
    unfused: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        if not self.params:
            raise ModelError(f"{self.model or 'the model'} has no parameters, so there is nothing to optimize")
        for param in self.params:
            name = param.name
            if not name.isprintable() or (("[" in name or "<" in name) and _MARKUP.search(name)):
                raise ModelError(
                    f"parameter name {shown(name)} holds control characters or markup, which would garble "
                    "every log and report. Rename the module or parameter."
                )

    def __len__(self) -> int:
        return len(self.params)

    def __iter__(self) -> Iterator[ParamInfo]:
        return iter(self.params)

    def __getitem__(self, name: str) -> ParamInfo:
        return self.params[self.position(name)]

    def __contains__(self, name: object) -> bool:
        return name in self._positions

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
        positions: dict[str, int] = {}
        for position, param in enumerate(self.params):
            for name in param.names if param.aliases else (param.name,):
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

    def to_dict(self) -> dict[str, Any]:
        """Return the inventory as JSON data, the form of an inventory file."""
        return {
            "model": self.model,
            "params": [param_to_dict(param) for param in self.params],
            "hooks": self.hooks.answers,
            **({"unfused": sorted(self.unfused)} if self.unfused else {}),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Inventory:
        """Return the inventory that :meth:`to_dict` wrote; ``dtype``, ``kinds`` and ``aliases`` may be missing.

        Raises:
            ModelError: It is not an inventory; says what is wrong and where.
        """
        if not isinstance(data, dict) or not isinstance(data.get("params"), list):
            raise ModelError("not an inventory: it must be an object with a list `params`")
        rows = data["params"]
        shapes = {row["name"]: row.get("shape") for row in rows if isinstance(row, dict) and "name" in row}
        hooks = data.get("hooks") or {}
        if not isinstance(hooks, dict) or not set(hooks) <= set(HOOKS):
            raise ModelError(f"`hooks` must be an object with any of: {listing(HOOKS)}")
        params = tuple([param_from_dict(row, i, shapes) for i, row in enumerate(rows)])
        inventory = cls(params, Hooks(_checked(hooks)), str(data.get("model") or ""), _unfused(data))
        inventory._positions  # noqa: B018  # refuses a name that stands twice
        return inventory

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
            raise ModelError(f"inventory {shown(os.fspath(path))}: {reason}") from None
        except ModelError as error:
            raise ModelError(f"inventory {shown(os.fspath(path))}: {error}") from error


def _unfused(data: Mapping[str, Any]) -> frozenset[str]:
    names = data.get("unfused") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"`unfused` must be a list of names, not {shown(names)}")
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


def param_from_dict(row: Any, position: int, shapes: Mapping[str, Any]) -> ParamInfo:
    """Return the parameter that :func:`param_to_dict` wrote; ``shapes`` are those of the model, by name."""
    try:
        name, owner, bases = row["name"], row.get("owner", ""), tuple(row.get("bases", ()))
        shape = tuple(row["shape"])
        right = (
            isinstance(name, str)
            and isinstance(owner, str)
            and all(type(n) is int and n >= 0 for n in shape)
            and all(isinstance(base, str) for base in bases)
            and isinstance(row.get("trainable", True), bool)
            and isinstance(row.get("dtype", ""), str)
            and isinstance(row.get("kinds", []), list)
            and isinstance(row.get("aliases", []), list)
            and all(isinstance(alias, str) for alias in row.get("aliases", ()))
        )
    except (TypeError, KeyError, AttributeError):
        right = False
    if not right:
        raise ModelError(
            f"params[{position}] is {shown(row)}; it must have `name`, `shape` (whole numbers), `owner`, "
            "`bases` and `trainable`"
        )
    if "kinds" in row:
        kinds = frozenset(row["kinds"])
        if not kinds <= set(KINDS):
            raise ModelError(f"params[{position}].kinds must be any of: {listing(KINDS)}")
    else:
        module, dot, _ = name.rpartition(".")
        kinds = kinds_of(name, owner, bases, shapes.get(f"{module}{dot}weight"))
    return ParamInfo(
        name, shape, row.get("dtype", "float32"), owner, bases, kinds, row.get("trainable", True), tuple(row.get("aliases", ()))
    )  # fmt: skip


def _checked(hooks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers of hooks as a file holds them, checked as the model's own would be."""
    checked: dict[str, Any] = {}
    for hook, answer in hooks.items():
        try:
            if hook.startswith("no_weight_decay"):
                checked[hook] = _names(hook, answer)
            else:
                check = {"lr_decay_keywords": _factors, "get_layer_depth": _depth}.get(hook, lambda found: found)
                checked[hook] = {key: check(found) for key, found in answer.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"hooks.{hook}: {error}") from None
    return checked
