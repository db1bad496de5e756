"""Checking the rules of a plan: a rule, or an option of it, that touches nothing, or only frozen parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from optimbuild.edits import Asked, Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, printable, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import REGEX, Pattern, looks_like_regex, widened
from optimbuild.plan.apply import Applied


def complaints(applied: Sequence[Applied], model: Inventory, strict: bool) -> list[str]:
    """Return the warnings about the rules.

    Args:
        applied: The rules, in their order.
        model: The inventory that they were applied to.
        strict: Whether a rule or option that touches no parameter is an error; otherwise it is a warning.

    Raises:
        ConfigError: Under ``strict``, a rule that is not ``optional``, or an option of it, touches no parameter.
    """
    frozen = [rule.frozen for rule in applied]
    warnings: list[str] = []
    for i, rule in enumerate(applied):
        missed = [] if rule.spec.optional else _missed(rule, model)
        if missed and strict:
            raise _nothing_touched(missed)
        others = frozenset().union(*frozen[:i], *(() if frozen[i] else frozen[i + 1 :]))
        warnings += _warned(rule, frozen[i] | others, [o for o in applied if o is not rule])
        warnings += [f"{where}: {text}" for where, text in missed]
        warnings += _shadowed(rule)
        warnings += _idle(rule, others)
    return warnings


def _warned(rule: Applied, frozen: Collection[str], others: Sequence[Applied]) -> list[str]:
    """Return a rule's warnings, without parameters that are frozen or edited by another rule of the same type."""
    alike = [other.edits for other in others if other.spec.type == rule.spec.type]
    found = []
    for text, about, _ in rule.edits.warnings:
        if about is None:
            found.append(f"{rule}: {text}")
            continue
        names = [param.name for param in about if param.trainable and param.name not in frozen]
        names = [name for name in names if not any(edits[name] for edits in alike)]
        found += [f"{rule}: {text}: {listing(names)}"] if names else []
    return found


def _shadowed(rule: Applied) -> list[str]:
    """Return a warning for each option of which earlier ones take everything that it selects."""
    return [
        f"{rule}: {asked.option} ({_quoted(asked.text)}) does nothing: {listing(asked.taken_by, 3)} "
        f"{'takes' if len(asked.taken_by) == 1 else 'take'} all that it matches"
        for asked in rule.edits.asked
        if asked.taken_by
    ]


def _quoted(text: str) -> str:
    """Return a pattern in quotes, and words as they are."""
    return text if " " in text else shown(text)


def _missed(rule: Applied, model: Inventory) -> list[tuple[str, str]]:
    """Return what touches no parameter, with its path."""
    empty = [asked for asked in rule.edits.asked if not asked.params]
    if not empty and not rule.edits and not any(asked.taken_by for asked in rule.edits.asked):
        return [(rule.path, f"rule {rule.spec.type!r} touches no parameter of {model.model or 'the model'}.")]
    hints = [_hint(asked, model) for asked in empty[:3]]  # finding what is close takes time on large models
    hints += [""] * (len(empty) - len(hints))
    return [
        (f"{rule.path}.{option}", f"{_quoted(text)} matches no parameter.{hint}")
        for (option, text, *_), hint in zip(empty, hints, strict=True)
    ]


def _nothing_touched(missed: Sequence[tuple[str, str]]) -> ConfigError:
    (where, message), *others = missed
    more = "".join(f" {w}: {m}" for w, m in others[:2]) + (f" And {len(others) - 2} more." if others[2:] else "")
    return ConfigError(f"{message}{more} Mend it, leave it out, or give the rule `optional: true`.", where)


def _idle(rule: Applied, frozen: Collection[str]) -> list[str]:
    """Return warnings about what touches only parameters that are frozen anyway."""
    edits = rule.edits
    if _are_frozen(_touched(edits), frozen):
        return [f"{rule} touches only frozen parameters: {listing([param.name for param in _touched(edits)], 5)}"]
    found = [f"{option} {shown(text)}" for option, text, params, *_ in edits.asked if _are_frozen(params, frozen)]
    return [f"{rule}: only frozen parameters match {listing(found, 5)}"] if found else []


def _touched(edits: Edits) -> Iterator[ParamInfo]:
    return (param for param, number in zip(edits.model, edits.numbers, strict=True) if number)


def _are_frozen(params: Iterable[ParamInfo], frozen: Collection[str]) -> bool:
    """Say whether there are some parameters, and all of them are frozen."""
    some = False
    for param in params:
        if param.trainable and param.name not in frozen:
            return False
        some = True
    return some


def _hint(asked: Asked, model: Inventory) -> str:
    text = asked.text
    if asked.hint or " " in text:  # words, not a pattern
        return f" {asked.hint}" if asked.hint else ""
    if looks_like_regex(text):
        count = len(model.matching(Pattern(f"{REGEX}{text}")))
        if count:
            return f" As a regular expression it would match {count}: '{printable(REGEX + text)}'."
    for wider in widened(text):
        count = len(model.matching(Pattern(wider)))
        if count:
            return f" {shown(wider)} would match {count} (`*` stays inside one segment, `**` crosses them)."
    names = model.closest(text.removeprefix("re:"))
    if names:
        return f" Closest: {listing(names)}."
    parts = dict.fromkeys([name.partition(".")[0] for name in model.names])
    return f" The model consists of: {listing(list(parts), 5)}."
