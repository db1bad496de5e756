"""Knowledge that a plan has and that nothing used: marks that no rule reads, other names of what a pattern selects."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.patterns import Pattern
from optimbuild.plan.apply import Applied

READERS = {"_no_weight_decay": "no_decay", "_optim": "marks"}
"""By mark the rule of ours that reads it."""


def unread_marks(rules: Sequence[Applied], model: Inventory) -> list[str]:
    """Return a note for each mark on trainable tensors that no rule reads."""
    read = {mark for rule in rules for mark in rule.edits.marks}
    names: dict[str, list[str]] = {}
    for param in model:
        for mark in param.marks if param.trainable else ():
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
        for _, text, params, _ in rule.edits.asked:
            shared = [param for param in params if param.aliases]
            pairs = [(name, _others(param.names, name, text)) for param in shared for name in param.names[:1]]
            told = [f"{name} = {', '.join(others)}" for name, others in pairs if others]
            if told:
                notes.append(
                    f"{rule.spec.type}: {text!r} selects tensors that have other names too: {listing(told, 5)}"
                )
    return notes


def _others(names: Sequence[str], first: str, text: str) -> list[str]:
    """Return the other names of a tensor, where the text selects it by some of its names only."""
    try:
        pattern = Pattern(text)
    except ValueError:
        return []
    if all(pattern.matches(name) or text in name for name in names):
        return []
    return [name for name in names if name != first]
