"""What a plan knows about a model: its parameters, in an inventory with its hooks."""

from __future__ import annotations

import copy
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from optimbuild.errors import ModelError
from optimbuild.messages import closest, listing, shown
from optimbuild.model._columns import Params
from optimbuild.model.hints import HOOKS, Hooks, checked_answers
from optimbuild.model.inventory_file import _names_in, _refuse_row, param_from_dict, param_to_dict
from optimbuild.model.names import LONGEST, _garbles, _refuse_unreadable
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import Pattern


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
