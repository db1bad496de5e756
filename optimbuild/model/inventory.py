"""A model's parameters and its hints: all that a plan knows about a model."""

from __future__ import annotations

import copy
import json
import math
import os
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from optimbuild.errors import ModelError
from optimbuild.messages import closest, listing, shown
from optimbuild.model.hints import RATIOS, Hints
from optimbuild.model.inventory_file import are_names, param_from_dict, param_to_dict, refuse_wrong_row
from optimbuild.model.names import refuse_unreadable
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import Pattern
from optimbuild.model.routing_kinds import ROUTING_KINDS, routing_kinds

SEARCHED = 20_000
"""How many parameters are searched for a name that resembles one that does not exist."""


@dataclass(frozen=True)
class Inventory:
    """A model's parameters in ``named_parameters()`` order, and its hints.

    Args:
        params: The parameters.
        hints: What the model's own methods answer.
        model: Class name of the model.
        unfused: Names that no fused kernel can take, for their sparse gradients or their device.
        sharded: Names whose tensors are shards (``DTensor``, as FSDP2 makes them), which only some fused kernels take.
        on_cpu: Whether all tensors are on the CPU, where kernels for many tensors pay only within bounds. An inventory
            file does not say; its model is planned as for an accelerator.
        statistics: The modules with running statistics (batch norms), by their canonical names, in model order.
        outputs: By parameter name the method that names it as an output, such as ``get_output_embeddings()``.
        packages: The top-level packages of the model's class and its ancestors, torch's left out, such as ``timm``.
        backbone: Class name of what the model has under ``backbone``, as OpenMMLab's models do; empty for others.
        frozen: Names that other rules of the config freeze, for a rule that asks to see them; see :meth:`with_frozen`.
        bare: Modules without parameters of which published code takes notice: norms without ``affine``, and what is
            inside a module that has parameters of its own, where nothing else is. By name the ``torch.nn`` ancestors of
            their class, itself included where it is one.

    Raises:
        ModelError: No parameters, a name twice, or a name with control characters or markup.

    >>> inventory = Inventory((ParamInfo("head.weight", (10, 4)), ParamInfo("head.bias", (10,))))
    >>> inventory["head.bias"].shape
    (10,)
    """

    params: Sequence[ParamInfo]
    hints: Hints = field(default_factory=Hints, compare=False, repr=False)
    model: str = field(default="", compare=False)
    unfused: frozenset[str] = field(default=frozenset(), compare=False)
    sharded: frozenset[str] = field(default=frozenset(), compare=False)
    on_cpu: bool = field(default=False, compare=False)
    statistics: tuple[str, ...] = field(default=(), compare=False, repr=False)
    packages: tuple[str, ...] = field(default=(), compare=False, repr=False)
    outputs: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    backbone: str = field(default="", compare=False, repr=False)
    frozen: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    bare: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", tuple(self.params))
        refuse_unreadable("model name", (self.model, self.backbone))
        if not self.params:
            raise ModelError(f"{self.model or 'the model'} has no parameters, so there is nothing to optimize")
        refuse_unreadable("parameter name", self.position_of)  # which refuses a name that two parameters have

    def copy(self) -> Inventory:
        """Return the same inventory; what the copy's hints answer from now on is not noted in this one."""
        other = copy.copy(self)
        object.__setattr__(other, "hints", self.hints.copy())
        return other

    def with_frozen(self, names: frozenset[str]) -> Inventory:
        """Return the same inventory for a rule that sees which parameters the others freeze; the hints are shared."""
        other = copy.copy(self)
        object.__setattr__(other, "frozen", names)
        return other

    @property
    def hooks(self) -> Hints:
        """The hints, by the name that they had before release 0.2."""
        return self.hints

    def __len__(self) -> int:
        return len(self.params)

    def __iter__(self) -> Iterator[ParamInfo]:
        return iter(self.params)

    def __getitem__(self, name: str) -> ParamInfo:
        return self.params[self.position(name)]

    def __contains__(self, name: object) -> bool:
        return name in self.position_of

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, aliases left out."""
        return tuple([param.name for param in self.params])

    @cached_property
    def sizes(self) -> Sequence[int]:
        """The number of elements of each parameter, in model order."""
        return list(map(math.prod, [param.shape for param in self.params]))

    @cached_property
    def trainable(self) -> tuple[ParamInfo, ...]:
        """The parameters with ``requires_grad`` before the build, in model order."""
        return tuple([param for param in self.params if param.trainable])

    @property
    def trained(self) -> tuple[ParamInfo, ...]:
        """The trainable parameters but for those in ``frozen``, in model order."""
        trainable = self.trainable
        return tuple([p for p in trainable if p.name not in self.frozen]) if self.frozen else trainable

    @cached_property
    def routing_kinds(self) -> Mapping[str, Mapping[str, str]]:
        """For each parameter its kinds for routing (``matrix``, ``output``, ``expert``, ``router``), with evidence."""
        return routing_kinds(self.params, self.outputs)

    def of_kinds(self, kinds: Collection[str]) -> list[ParamInfo]:
        """Return the parameters of any of some kinds, those for routing included, in model order.

        >>> model = Inventory((ParamInfo("head.weight", (10, 4), kinds=frozenset({"linear"})), ParamInfo("scale", ())))
        >>> [param.name for param in model.of_kinds(("matrix", "norm"))]
        ['head.weight']
        """
        if set(kinds).isdisjoint(ROUTING_KINDS):
            return [param for param in self.params if not param.kinds.isdisjoint(kinds)]
        more = self.routing_kinds
        return [p for p in self.params if not p.kinds.isdisjoint(kinds) or not more[p.name].keys().isdisjoint(kinds)]

    def position(self, name: str) -> int:
        """Return the position of a parameter in model order, by its name or an alias.

        Raises:
            ModelError: No parameter has this name; says which ones are close, or what the model consists of.
        """
        try:
            return self.position_of[name]
        except KeyError:
            raise ModelError(self._missing(name)) from None

    def _missing(self, name: str) -> str:
        """Return what to say of a name that no parameter has."""
        if below := [known for known in self.position_of if known.startswith(f"{name}.")]:
            return f"{shown(name)} is a module, not a parameter. Its parameters: {listing(below, 5)}"
        parts = list(dict.fromkeys([known.partition(".")[0] for known in self.position_of]))
        close = self.closest(name)
        hint = f"Closest: {listing(close)}." if close else f"The model consists of: {listing(parts)}"
        return f"{self.model or 'the model'} has no parameter {shown(name)}. {hint}"

    def positions(self, names: Iterable[str]) -> list[int]:
        """Return the positions of parameters in model order, by their names or aliases.

        Raises:
            ModelError: As :meth:`position`.
        """
        known = self.position_of
        try:
            return [known[name] for name in names]
        except KeyError as error:
            return [self.position(str(error.args[0]))]

    @cached_property
    def position_of(self) -> Mapping[str, int]:
        """The position of each parameter in model order, by its name and by its aliases."""
        positions = dict(zip(self.names, range(len(self.names)), strict=True))
        if len(positions) < len(self.names):
            twice, _ = Counter(self.names).most_common(1)[0]
            raise ModelError(f"two parameters have the name {shown(twice)}")
        for owner, aliases in self.aliases.items():
            position = positions[owner]
            for name in aliases:
                if positions.setdefault(name, position) != position:
                    raise ModelError(f"two parameters have the name {shown(name)}")
        return positions

    @cached_property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """The other names of the parameters that have some, which few have."""
        return {param.name: param.aliases for param in self.params if param.aliases}

    @cached_property
    def _text(self) -> str:
        """All names and aliases."""
        return "\n".join(self.position_of)

    def closest(self, name: str, n: int = 3) -> list[str]:
        """Return the real names of parameters and modules that resemble ``name`` most."""
        known: dict[str, None] = {}
        for param in self.params[:SEARCHED]:
            segments = param.name.split(".")
            for length in range(1, len(segments) + 1):
                known[".".join(segments[:length])] = None
        tail = name.replace("*", "").strip(".")
        found = closest(name, known, n) or closest(tail, known, n)
        return found or [k for k in known if tail and tail.rsplit(".", 1)[-1] in k][:n]

    def matching(self, pattern: Pattern) -> list[ParamInfo]:
        """Return the parameters of which the name or an alias matches."""
        found = pattern.search
        return [p for p in self.params if found(p.name) or (p.aliases and any(found(a) for a in p.aliases))]

    def containing(self, keyword: str, below: str = "") -> list[ParamInfo]:
        """Return the parameters of which the name or an alias contains a piece of text.

        Args:
            keyword: The piece.
            below: What such a name begins with, such as ``backbone.``; the piece is in the rest.
        """
        if below:
            start = len(below)
            inside = [name for name in self._below(below) if name.find(keyword, start) >= 0]
            return [self.params[position] for position in sorted({self.position_of[name] for name in inside})]
        if keyword not in self._text:
            return []
        found = {position: None for position, name in enumerate(self.names) if keyword in name}
        for name, aliases in self.aliases.items():
            if any(keyword in alias for alias in aliases):
                found[self.position_of[name]] = None
        return [self.params[position] for position in sorted(found)]

    @cached_property
    def _sorted(self) -> list[str]:
        """All names and aliases, those of one module beside each other."""
        return sorted(self.position_of)

    def _below(self, prefix: str) -> list[str]:
        """Return the names and aliases that begin with a prefix, without a look at the others."""
        first = bisect_left(self._sorted, prefix)
        last = bisect_left(self._sorted, prefix + chr(sys.maxunicode), first)
        return self._sorted[first:last]

    def below(self, module: str) -> Inventory:
        """Return the inventory of a module, in which names begin below it.

        A tensor that it shares with a module outside keeps the owner, the kinds and the place that it has there. The
        class of its ``backbone`` is not known.

        Raises:
            ModelError: There is no such module, or it has no parameters.

        >>> gan = Inventory((ParamInfo("generator.fc.weight", (4, 4)), ParamInfo("critic.weight", (4, 1))))
        >>> gan.below("generator").names
        ('fc.weight',)
        """
        start = f"{module}."
        own = {param.name: [n.removeprefix(start) for n in param.names if n.startswith(start)] for param in self.params}
        params = [
            param._replace(name=names[0], aliases=tuple(names[1:]))
            for param in self.params
            if (names := own[param.name])
        ]
        if not params:
            modules = [name for name in self.closest(module) if name not in self]
            parts = modules or list(dict.fromkeys([name.partition(".")[0] for name in self.names]))
            whole = self.model or "the model"
            raise ModelError(f"{whole} has no module {shown(module)} with parameters; closest: {listing(parts, 5)}")
        return replace(
            self,
            params=tuple(params),
            hints=self.hints.below(module),
            model=f"{self.model}.{module}" if self.model else module,
            unfused=frozenset([own[name][0] for name in self.unfused if own.get(name)]),
            sharded=frozenset([own[name][0] for name in self.sharded if own.get(name)]),
            statistics=tuple([name.removeprefix(start) for name in self.statistics if name.startswith(start)]),
            outputs={own[name][0]: method for name, method in self.outputs.items() if own.get(name)},
            backbone="",
            frozen=frozenset([own[name][0] for name in self.frozen if own.get(name)]),
            bare={name.removeprefix(start): bases for name, bases in self.bare.items() if name.startswith(start)},
        )

    def record(self, ratios: Iterable[float] = ()) -> None:
        """Ask the hooks of all modules what an inventory file keeps of them.

        Args:
            ratios: Ratios for which ``lr_decay_keywords`` is asked, beside the usual ones.
        """
        self.hints.record(self.names, [*RATIOS, *ratios], self.aliases)

    def to_dict(self) -> dict[str, Any]:
        """Return the inventory as JSON data, the form of an inventory file."""
        return {
            "model": self.model,
            "params": [param_to_dict(param) for param in self.params],
            **self.hints.to_dict(),
            **({"unfused": sorted(self.unfused)} if self.unfused else {}),
            **({"sharded": sorted(self.sharded)} if self.sharded else {}),
            **({"statistics": list(self.statistics)} if self.statistics else {}),
            **({"packages": list(self.packages)} if self.packages else {}),
            **({"outputs": dict(self.outputs)} if self.outputs else {}),
            **({"backbone": self.backbone} if self.backbone else {}),
            **({"bare": {name: list(bases) for name, bases in self.bare.items()}} if self.bare else {}),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Inventory:
        """Return the inventory that :meth:`to_dict` wrote; ``dtype``, ``kinds`` and ``aliases`` may be missing.

        Raises:
            ModelError: It is not an inventory; says what is wrong and where.
        """
        if not isinstance(data, dict) or not isinstance(data.get("params"), list):
            raise ModelError("not an inventory: it must be an object with a list `params`")
        rows, model = data["params"], data.get("model") or ""
        backbone = data.get("backbone") or ""
        for key, value in (("model", model), ("backbone", backbone)):
            if not isinstance(value, str):
                raise ModelError(f"`{key}` must be a name, not {shown(value)}")
        for i, row in enumerate(rows):
            refuse_wrong_row(row, i)
        shapes = {row["name"]: row["shape"] for row in rows}
        params = tuple([param_from_dict(row, shapes) for row in rows])
        unfused, sharded = frozenset(_names_in(data, "unfused")), frozenset(_names_in(data, "sharded"))
        statistics, packages = _names_in(data, "statistics"), _names_in(data, "packages")
        outputs, bare = _outputs_in(data), _bare_in(data)
        hints = Hints.from_dict(data)  # last: a file with several faults is told of its parameters first
        return cls(
            params,
            hints,
            model,
            unfused,
            sharded,
            statistics=statistics,
            packages=packages,
            outputs=outputs,
            backbone=backbone,
            bare=bare,
        )

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


def _names_in(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = data.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"`{key}` must be a list of names, not {shown(names)}")
    return tuple(names)


def _outputs_in(data: Mapping[str, Any]) -> dict[str, str]:
    outputs = data.get("outputs") or {}
    if not isinstance(outputs, dict) or not all(isinstance(method, str) for method in outputs.values()):
        raise ModelError(f"`outputs` must map names of parameters to methods, not {shown(outputs)}")
    return {name: method for name, method in outputs.items() if any(row["name"] == name for row in data["params"])}


def _bare_in(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    bare = data.get("bare") or {}
    if not isinstance(bare, dict) or not all(map(are_names, (list(bare), *bare.values()))):
        raise ModelError(f"`bare` must map names of modules to lists of classes, not {shown(bare)}")
    return {name: tuple(bases) for name, bases in bare.items()}
