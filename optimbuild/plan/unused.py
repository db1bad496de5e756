"""Knowledge that a plan has and that nothing used: marks that no rule reads, other names of what a pattern selects."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.marks import READERS
from optimbuild.model.patterns import Pattern
from optimbuild.plan.apply import Applied


def unread_marks(rules: Sequence[Applied], model: Inventory) -> list[str]:
    """Return a note for each mark on trainable tensors that no rule reads."""
    read = {mark for rule in rules for mark in rule.edits.marks}
    names: dict[str, list[str]] = {}
    for param in [param for param in model if param.marks and param.trainable]:
        for mark in param.marks:
            if mark not in read:
                names.setdefault(mark, []).append(param.name)
    return [
        f"no rule reads the mark {mark} on {listing(found, 5)}"
        + (f" (`{{type: {READERS[mark]}}}` does)" if mark in READERS else "")
        for mark, found in names.items()
    ]


def shared_tensors(rules: Sequence[Applied]) -> list[str]:
    """Return a note for each pattern that selects a tensor by one of its names only: the others go with it."""
    notes = []
    for rule in rules:
        for asked in rule.edits.asked:
            counts = asked.by_name and not asked.taken_by
            text, shared = asked.text, [param for param in asked.params if param.aliases and counts]
            told = [" = ".join([p.name, ", ".join(p.aliases)]) for p in shared if _selects_in_part(text, p.names)]
            if told:
                notes.append(
                    f"{rule.spec.type}: {text!r} selects tensors that have other names too: {listing(told, 5)}"
                )
    return notes


def _selects_in_part(text: str, names: Sequence[str]) -> bool:
    """Say whether a pattern selects a tensor by some of its names only."""
    try:
        pattern = Pattern(text)
    except ValueError:  # words, which select by something else than names
        return False
    return not all(pattern.matches(name) or text in name for name in names)
