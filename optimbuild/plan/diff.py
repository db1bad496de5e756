"""What differs between two plans, by parameter and option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from optimbuild.messages import counted, listing

Options = Mapping[str, Any] | None
_ABSENT: Mapping[str, Any] = MappingProxyType({})
"""In place of the options of a parameter that a plan does not have."""
NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


@dataclass(frozen=True)
class PlanDiff:
    """The difference between two plans; false where there is none.

    Args:
        changed: By parameter and option, the value before and after. ``frozen`` is the option of a parameter that is
            trained on one side only, ``shape`` that of one whose shape differs.
        removed: Parameters that only the first plan has.
        added: Parameters that only the second one has.
        released: Modules whose running statistics only the first plan keeps.
        kept: Modules whose running statistics only the second one keeps.
    """

    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @classmethod
    def between(
        cls,
        before: Mapping[str, Options],
        after: Mapping[str, Options],
        kept_before: Sequence[str] = (),
        kept_after: Sequence[str] = (),
        shapes_before: Mapping[str, tuple[int, ...]] = NO_SHAPES,
        shapes_after: Mapping[str, tuple[int, ...]] = NO_SHAPES,
    ) -> PlanDiff:
        """Compare the options of parameters by their names; None is that of a frozen one.

        Many parameters share few options, so each pair of options is compared once.

        Args:
            before: By parameter its options in the first plan.
            after: The same in the second one.
            kept_before: The modules whose running statistics the first plan keeps.
            kept_after: The same in the second one.
            shapes_before: By parameter its shape in the first plan; without it, shapes are not compared.
            shapes_after: The same in the second one.

        >>> print(PlanDiff.between({"a": {"lr": 0.1}, "b": {"lr": 0.1}}, {"a": {"lr": 0.2}, "b": None}))
        lr of 1 parameter: 0.1 → 0.2: a
        frozen of 1 parameter: False → True: b
        """
        known: dict[tuple[int, int], dict[str, tuple[Any, Any]]] = {}
        changed: dict[str, dict[str, tuple[Any, Any]]] = {}
        for name, old in before.items():
            new = after.get(name, _ABSENT)
            if new is _ABSENT:
                continue
            changes = known.get((id(old), id(new)))
            if changes is None:
                changes = known[id(old), id(new)] = _changes(old, new)
            if shapes_before and shapes_before.get(name) != shapes_after.get(name):
                changes = {"shape": (shapes_before.get(name), shapes_after.get(name)), **changes}
            if changes:
                changed[name] = changes
        return cls(
            changed,
            _only_in(before, after),
            _only_in(after, before),
            _only_in(kept_before, frozenset(kept_after)),
            _only_in(kept_after, frozenset(kept_before)),
        )

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.added or self.released or self.kept)

    def lines(self) -> list[str]:
        """Return the difference, a line for each distinct change, with the names that it concerns."""
        names: dict[str, list[str]] = {}
        for name, changes in self.changed.items():
            for option, (old, new) in changes.items():
                names.setdefault(f"{option}\0{old!r} → {new!r}", []).append(name)
        lines = [
            f"{option} of {counted(len(found), 'parameter')}: {change}: {listing(found)}"
            for key, found in names.items()
            for option, _, change in [key.partition("\0")]
        ]
        for title, found, thing in (
            ("only in the first", self.removed, "parameter"),
            ("only in the second", self.added, "parameter"),
            ("running statistics kept only in the first", self.released, "module"),
            ("running statistics kept only in the second", self.kept, "module"),
        ):
            if found:
                lines.append(f"{title}, {counted(len(found), thing)}: {listing(found)}")
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
            **({"released": list(self.released)} if self.released else {}),
            **({"kept": list(self.kept)} if self.kept else {}),
        }


def _only_in(some: Mapping[str, Any] | Sequence[str], others: Mapping[str, Any] | frozenset[str]) -> tuple[str, ...]:
    return tuple([name for name in some if name not in others])


def _changes(before: Options, after: Options) -> dict[str, tuple[Any, Any]]:
    if before is None or after is None:
        return {} if before is after else {"frozen": (before is None, after is None)}
    keys = [*before, *(key for key in after if key not in before)]
    pairs = {key: (before.get(key), after.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if repr(pair[0]) != repr(pair[1])}
