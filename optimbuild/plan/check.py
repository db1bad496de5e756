"""What is amiss with the rules of a plan: patterns and rules that touch nothing, or only frozen parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import compress

from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.patterns import Pattern, widened
from optimbuild.plan.apply import Applied


def complaints(applied: Sequence[Applied], inventory: Inventory, strict: bool) -> list[str]:
    """Return the warnings about the rules.

    Args:
        applied: The rules, in their order.
        inventory: What they were applied to.
        strict: Whether it is an error that a rule, or a pattern of it, touches no parameter; else it is a warning.

    Raises:
        ConfigError: It is strict, and that happened to a rule that is not ``optional``.
    """
    frozen = [_frozen_by(rule, inventory) for rule in applied]
    warnings: list[str] = []
    for i, rule in enumerate(applied):
        touches = any(rule.column.numbers)
        missed = [] if rule.spec.optional else _missed(rule, touches, inventory)
        if missed and strict:
            raise _nothing_touched(missed)
        others = frozenset().union(*frozen[:i], *(() if frozen[i] else frozen[i + 1 :]))
        warnings += [*rule.warnings, *(f"{where}: {text}" for where, text in missed), *_idle(rule, inventory, others)]
    return warnings


def _frozen_by(rule: Applied, inventory: Inventory) -> frozenset[str]:
    if not any(edit.freeze for edit in rule.column.distinct):
        return frozenset()
    freezes = [edit is not None and edit.freeze for edit in rule.column.table]
    return frozenset(compress(inventory.names, map(freezes.__getitem__, rule.column.numbers)))


def _missed(rule: Applied, touches: bool, inventory: Inventory) -> list[tuple[str, str]]:
    """Return what touches no parameter, with its path."""
    empty = [(where, text) for where, text, matched in rule.patterns if not matched]
    if not empty and not touches:
        return [(rule.path, f"rule {rule.spec.type!r} touches no parameter of {inventory.model or 'the model'}.")]
    hints = [_hint(text, inventory) for _, text in empty[:3]]  # finding what is close takes time on large models
    hints += [""] * (len(empty) - len(hints))
    return [
        (f"{rule.path}.{where}", f"{text if ' ' in text else shown(text)} matches no parameter.{hint}")
        for (where, text), hint in zip(empty, hints, strict=True)
    ]


def _nothing_touched(missed: Sequence[tuple[str, str]]) -> ConfigError:
    (where, message), *others = missed
    more = "".join(f" {w}: {m}" for w, m in others[:2]) + (f" And {len(others) - 2} more." if others[2:] else "")
    return ConfigError(f"{message}{more} Mend it, leave it out, or give the rule `optional: true`.", where)


def _idle(rule: Applied, inventory: Inventory, frozen: Collection[str]) -> list[str]:
    """Return warnings about what touches only parameters that are frozen anyway."""
    numbers = rule.column.numbers
    if _are_idle(compress(inventory.names, numbers), compress(inventory.columns.trainable, numbers), frozen):
        names = list(compress(inventory.names, numbers))
        return [f"{rule} touches only frozen parameters: {listing(names, 5)}"]
    found = [
        f"{where} {shown(text)}"
        for where, text, matched in rule.patterns
        if _are_idle([param.name for param in matched], [param.trainable for param in matched], frozen)
    ]
    return [f"{rule}: only frozen parameters match {listing(found, 5)}"] if found else []


def _are_idle(names: Iterable[str], trainable: Iterable[bool], frozen: Collection[str]) -> bool:
    """Say whether there are some parameters, and all of them are frozen."""
    trained = [trains and name not in frozen for name, trains in zip(names, trainable, strict=True)]
    return bool(trained) and not any(trained)


def _hint(text: str, inventory: Inventory) -> str:
    if " " in text:  # words, not a pattern
        return ""
    for wider in widened(text):
        count = len(inventory.matching(Pattern(wider)))
        if count:
            return f" {shown(wider)} would match {count} (`*` stays inside one segment, `**` crosses them)."
    names = inventory.closest(text.removeprefix("re:"))
    if names:
        return f" Closest: {listing(names)}."
    parts = dict.fromkeys([name.partition(".")[0] for name in inventory.names])
    return f" The model consists of: {listing(list(parts), 5)}."
