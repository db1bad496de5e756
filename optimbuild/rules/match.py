"""An ordered table from patterns and kinds to options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from optimbuild.edits import Edit, Edits
from optimbuild.messages import closest, listing, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import Pattern, PatternText
from optimbuild.model.routing_kinds import ALL_KINDS, AnyKind
from optimbuild.registry import rule
from optimbuild.values import Keyword, NonNegative, Switch, join


class Entry(BaseModel):
    """One entry of the table: which parameters, and what they get."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    pattern: PatternText | None = None
    """A pattern over names."""
    kinds: tuple[AnyKind, ...] = ()
    """Kinds, any of which is enough; beside a pattern both must hold."""
    lr_mult: NonNegative = 1.0
    """A factor for the learning rate."""
    decay_mult: NonNegative = 1.0
    """A factor for the weight decay."""
    freeze: Switch = False
    """Take the parameters out of training."""
    optimizer: Keyword | None = None
    """A name under ``optimizers``, or a registered type: what trains the parameters."""
    marks: Mapping[Keyword, Any] = Field(default_factory=dict)
    """Entries for their groups that the optimizer does not take, for a hook or a ``step`` that reads them there."""

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if self.pattern is None and not self.kinds:
            raise ValueError("an entry needs a `pattern`, `kinds`, or both")
        for key in self.model_extra or {}:
            if close := closest(key, Entry.model_fields, n=1, cutoff=0.8):
                raise ValueError(f"unknown key {shown(key)}. Did you mean {close[0]!r}?")
        return self

    @property
    def label(self) -> str:
        """The entry in words."""
        parts = [f"pattern {self.pattern!r}"] if self.pattern is not None else []
        return " and ".join([*parts, f"kinds {', '.join(self.kinds)}"] if self.kinds else parts)

    def selected(self, inventory: Inventory) -> Sequence[ParamInfo]:
        """Return the parameters that the entry selects."""
        found = inventory.params if self.pattern is None else inventory.matching(Pattern(self.pattern))
        if not self.kinds:
            return found
        of_kinds = {param.name for param in inventory.of_kinds(self.kinds)}
        return [param for param in found if param.name in of_kinds]

    def hint(self, model: Inventory) -> str:
        """Return what to write where no parameter is of the kinds; nothing where some are."""
        lacking = [kind for kind in self.kinds if not model.of_kinds([kind])]
        if not lacking:
            return ""
        there = listing([kind for kind in ALL_KINDS if model.of_kinds([kind])]) or "none"
        return f"{model.model or 'The model'} has no {' or '.join(lacking)}; its kinds are: {there}."

    def edit(self) -> Edit:
        """Return what the selected parameters get."""
        factors = {"lr": self.lr_mult, "weight_decay": self.decay_mult}
        return Edit(
            set=dict(self.model_extra or {}),
            scale={option: factor for option, factor in factors.items() if factor != 1.0},
            freeze=self.freeze,
            optimizer=self.optimizer,
            marks=dict(self.marks),
            why=self.label,
        )


def _entries(table: Any) -> Any:
    """Return the entries by where they stand: by their index in a list, or by their pattern in the short form."""
    if isinstance(table, (list, tuple)):
        return dict(enumerate(table))
    if not isinstance(table, Mapping):
        raise ValueError("must be a mapping from pattern to options, or a list of entries")
    for pattern, options in table.items():
        if not isinstance(options, Mapping):
            raise ValueError(f"what stands under {shown(pattern)} must be a mapping of options, not {shown(options)}")
        if options.get("pattern", pattern) != pattern:
            raise ValueError(f"{shown(pattern)} is the pattern already; `pattern` belongs into a list of entries")
    return {pattern: {"pattern": pattern, **options} for pattern, options in table.items()}


def _as_written(table: Mapping[int | str, Entry]) -> Any:
    """Return the form that :func:`_entries` read."""
    return table if all(isinstance(key, str) for key in table) else list(table.values())


Table = tuple[Entry, ...] | dict[str, dict[str, Any]]


@rule("match")
class Match:
    """Give options by pattern and kind; for each parameter the first entry that matches counts.

    An entry takes any option that the optimizer has, and ``lr_mult``, ``decay_mult`` and
    ``freeze: true``. An entry without options exempts its parameters from those that follow.

    Example:
        ``{type: match, table: {"backbone": {lr_mult: 0.1}, "**.head": {weight_decay: 0.0}}}``, or as a
        list: ``table: [{kinds: [embedding], lr_mult: 0.5}, {pattern: neck, kinds: [norm], lr: 1e-4}]``
    """

    table: Annotated[
        dict[int | str, Entry],
        BeforeValidator(_entries, json_schema_input_type=Table),
        PlainSerializer(_as_written),
    ]
    """The entries, in order: a mapping from pattern to options, or a list of entries."""

    def __post_init__(self) -> None:
        if not self.table:
            raise ValueError("the table is empty")

    def bind(self, model: Inventory) -> Edits:
        """Find each parameter's entry."""
        edits = Edits(model)
        for key, entry in self.table.items():
            where = join("table", key)
            found = entry.selected(model)
            text = entry.label if entry.kinds else entry.pattern or ""
            edits.give(found, entry.edit(), where, text, entry.hint(model))
        return edits
