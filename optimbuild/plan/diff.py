"""What differs between two plans, by parameter and option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optimbuild.messages import listing
from optimbuild.model._columns import Column

Options = Mapping[str, Any] | None
FROZEN = "frozen"


@dataclass(frozen=True)
class PlanDiff:
    """The difference between two plans; false where there is none.

    Args:
        changed: By parameter and option, the value before and after. ``frozen`` stands for the
            whole setting of a parameter that is trained on one side only.
        removed: Parameters that only the first plan has.
        added: Parameters that only the second one has.
    """

    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Mapping[str, Options], after: Mapping[str, Options]) -> PlanDiff:
        """Compare the options of parameters by their names; None stands for a frozen one.

        >>> print(PlanDiff.between({"a": {"lr": 0.1}, "b": {"lr": 0.1}}, {"a": {"lr": 0.2}, "b": None}))
        lr of 1 parameter: 0.1 → 0.2: a
        frozen of 1 parameter: False → True: b
        """
        shared = [name for name in before if name in after]
        both = [Column.of(shared, [side[name] for name in shared]) for side in (before, after)]
        removed, added = [tuple([name for name in a if name not in b]) for a, b in ((before, after), (after, before))]
        return cls(cls.aligned(*both).changed, removed, added)

    @classmethod
    def aligned(cls, before: Column[Mapping[str, Any]], after: Column[Mapping[str, Any]]) -> PlanDiff:
        """Compare the options of the same parameters, in the same order. Each pair of options is compared once.

        Args:
            before: The options of each parameter that is trained.
            after: The same, on the other side.
        """
        width = len(after.table)
        pairs = [old * width + new for old, new in zip(before.numbers, after.numbers, strict=True)]
        table: list[dict[str, tuple[Any, Any]] | None] = [None]
        number: dict[int, int] = {}
        for pair in dict.fromkeys(pairs):
            changes = _changes(before.table[pair // width], after.table[pair % width])
            number[pair] = len(table) if changes else 0
            if changes:
                table.append(changes)
        return cls(Column(before.names, list(map(number.__getitem__, pairs)), table))

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.added)

    def lines(self) -> list[str]:
        """Return the difference, a line for each distinct change, with the names that it concerns."""
        names: dict[str, list[str]] = {}
        for name, changes in self.changed.items():
            for option, (old, new) in changes.items():
                names.setdefault(f"{option}\0{old!r} → {new!r}", []).append(name)
        lines = [
            f"{option} of {_counted(found)}: {change}: {listing(found)}"
            for key, found in names.items()
            for option, _, change in [key.partition("\0")]
        ]
        if self.removed:
            lines.append(f"only in the first, {_counted(self.removed)}: {listing(self.removed)}")
        if self.added:
            lines.append(f"only in the second, {_counted(self.added)}: {listing(self.added)}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines()) or "no difference"

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON data."""
        return {
            "same": not self,
            "changed": {
                name: {option: {"before": old, "after": new} for option, (old, new) in changes.items()}
                for name, changes in self.changed.items()
            },
            "removed": list(self.removed),
            "added": list(self.added),
        }


def _counted(names: list[str] | tuple[str, ...]) -> str:
    return f"{len(names)} parameter{'' if len(names) == 1 else 's'}"


def _changes(before: Options, after: Options) -> dict[str, tuple[Any, Any]]:
    if before is None or after is None:
        return {} if before is after else {FROZEN: (before is None, after is None)}
    keys = [*before, *(key for key in after if key not in before)]
    pairs = {key: (before.get(key), after.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if repr(pair[0]) != repr(pair[1])}
