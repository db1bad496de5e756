"""How the edits of several rules fold into one setting for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optimbuild.edits import Edit, refuse_malformed
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model._columns import Column
from optimbuild.plan.decision import Setting
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import finite, join, plain

Base = Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
"""Returns an optimizer, by its name, and its base options; None asks for the config's own."""

Change = tuple[int, Mapping[str, Any], Mapping[str, Any]]
"""The position of a rule, and what it changed, before and after."""


def folded(
    trainable: Sequence[bool], columns: Sequence[Column[Edit]], base: Base
) -> tuple[tuple[Setting, ...], tuple[int, ...]]:
    """Fold the edits of all parameters, each as :func:`changes` tells it step by step.

    Parameters for which all rules want the same are folded once, and what one edit makes of one state of the options
    is worked out once, because a large model has many parameters and few distinct edits.

    Args:
        trainable: For every parameter ``requires_grad`` before the build.
        columns: For every rule, in their order, what it wants for every parameter.
        base: What to start from.

    Returns:
        The distinct settings, in first-seen order, and for every parameter the index of its own.

    Raises:
        ConfigError: An edit asks for an option that the optimizer does not take, or for a value that it refuses; the
            first one of the first parameter that has one.
    """
    states = _States(base, columns)
    numbers = [states.effects(column) for column in columns]
    untrained = not all(trainable)
    rows: list[tuple[int, ...]] = list(
        zip(*numbers, trainable, strict=True) if untrained or not numbers else zip(*numbers, strict=True)
    )
    index_of: dict[int | None, int] = {}
    chosen = {}
    for row in dict.fromkeys(rows):
        state = states.reached(row)
        trains = not untrained or row[-1]
        chosen[row] = index_of.setdefault(state if trains else None, len(index_of))
    return tuple([states.setting(state) for state in index_of]), tuple(map(chosen.__getitem__, rows))


_NOTHING = object()
"""Stands for the value of an option that is not there."""


class _States:
    """The states of the options that edits lead to: an optimizer and its options, each of them once.

    Args:
        base: What to start from.
        columns: What every rule wants.
    """

    def __init__(self, base: Base, columns: Sequence[Column[Edit]]) -> None:
        edits = [edit for column in columns for edit in column.distinct]
        self._base = base
        self._edited = sorted({key for edit in edits for key in (*edit.set, *edit.scale)})
        self._names_optimizers = any(edit.optimizer is not None for edit in edits)
        self._edits: list[Sequence[Edit | None]] = []
        self._after: list[dict[tuple[int, int], int]] = []
        self._states: list[tuple[int, OptimizerType, dict[str, Any]]] = []
        self._known: dict[Any, int] = {}
        self._unedited: dict[Any, int] = {}
        self._starts: dict[str | None, int] = {}

    def effects(self, column: Column[Edit]) -> Sequence[int]:
        """Take the next rule, and return its numbers, the same ones for edits that only differ in their reason."""
        self._edits.append(column.table)
        self._after.append({})
        first: dict[str, int] = {}  # of edits with the same effect, errors give the reason of the first parameter's
        same = {
            number: first.setdefault(_effect(column.table[number]), number) for number in dict.fromkeys(column.numbers)
        }
        if len(first) == len(same):
            return column.numbers
        return list(map(same.__getitem__, column.numbers))

    def reached(self, row: Sequence[int]) -> int | None:
        """Return the state to which edits lead, or None for that of a parameter that they freeze.

        Args:
            row: For each rule what :meth:`effects` gave to its edit.
        """
        state, frozen = self._start(self._named(row) if self._names_optimizers else None), False
        for position, number in enumerate(row[: len(self._edits)]):
            edit = self._edits[position][number]
            if edit is None:
                continue
            step, after = (state, number), self._after[position]
            if step not in after:
                start, kind, options = self._states[state]
                after[step] = self._add(start, kind, _edited(options, edit, kind, f"rules[{position}]"))
            state = after[step]
            frozen = frozen or edit.freeze
        return None if frozen else state

    def _named(self, row: Sequence[int]) -> str | None:
        wanted = [edits[number] for edits, number in zip(self._edits, row, strict=False)]
        return _last_named([(position, edit) for position, edit in enumerate(wanted) if edit is not None], self._base)

    def _start(self, name: str | None) -> int:
        if name not in self._starts:
            kind, options = self._base(name)
            unedited = Setting(False, kind.name, {k: v for k, v in options.items() if k not in self._edited}).key
            same = self._unedited.setdefault(unedited, len(self._unedited))
            self._starts[name] = self._add(same, kind, options)
        return self._starts[name]

    def _add(self, unedited: int, kind: OptimizerType, options: dict[str, Any]) -> int:
        """Note a state, unless it is known; 1, 1.0 and True differ, and 0.0 and -0.0."""
        values = [options.get(key, _NOTHING) for key in self._edited]
        key = (unedited, *[value if type(value) is float and value else repr(value) for value in values])
        known = self._known.setdefault(key, len(self._states))
        if known == len(self._states):
            self._states.append((unedited, kind, options))
        return known

    def setting(self, state: int | None) -> Setting:
        """Return a state as a setting; None is that of a frozen parameter."""
        if state is None:
            return Setting(True, None, None)
        _, kind, options = self._states[state]
        return Setting(False, kind.name, options)


def _effect(edit: Edit | None) -> str:
    """Return what tells edits apart, but for their reasons."""
    if edit is None:
        return ""
    return f"{edit.set or ''!r}/{edit.scale or ''!r}/{edit.freeze}/{edit.optimizer!r}"


def changes(trainable: bool, edits: Sequence[tuple[int, Edit]], base: Base) -> list[Change]:
    """Return what each edit of one parameter changed that changed something.

    For each edit, ``set`` replaces and then ``scale`` multiplies. Of the optimizers that edits name the
    last one counts, and its base options are the start. ``freeze`` is final.

    Args:
        trainable: ``requires_grad`` before the build.
        edits: With the position of each rule.
        base: What to start from.

    Raises:
        ConfigError: An edit is malformed, asks for an option that the optimizer does not take, or for a value that it
            refuses.
    """
    for position, edit in edits:
        refuse_malformed(edit, f"rules[{position}]")
    kind, options = base(_last_named(edits, base))
    optimizer, frozen = base(None)[0].name, not trainable
    found: list[Change] = []
    for position, edit in edits:
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if edit.optimizer is not None and base(edit.optimizer)[0].name != optimizer:
            before["optimizer"], after["optimizer"] = optimizer, base(edit.optimizer)[0].name
            optimizer = after["optimizer"]
        new = _edited(options, edit, kind, f"rules[{position}]")
        for key, value in new.items():
            if key not in options or repr(options[key]) != repr(value):
                before[key], after[key] = options.get(key), value
        if edit.freeze:
            before["frozen"], after["frozen"] = False, True
        if after and not frozen:
            found.append((position, before, after))
        options, frozen = new, frozen or edit.freeze
    return found


def _last_named(edits: Sequence[tuple[int, Edit]], base: Base) -> str | None:
    """Return the name of the optimizer that counts."""
    last = None
    for position, edit in edits:
        if edit.optimizer is not None:
            last = edit.optimizer
            try:
                base(last)
            except ConfigError as error:
                message = f"of the optimizer {shown(last)} for this parameter: {error}"
                raise ConfigError(message, f"rules[{position}]") from None
    return last


def _edited(options: dict[str, Any], edit: Edit, kind: OptimizerType, path: str) -> dict[str, Any]:
    """Return the options after one edit, checked and coerced by the optimizer's own types."""
    if not edit.set:
        scaled = kind.scaled(options, edit.scale) if edit.scale else options
        if scaled is not None:
            return scaled
    try:
        kind.refuse_unknown((*edit.set, *edit.scale), path)
        update = {key: plain(value, join(path, key)) for key, value in edit.set.items()}
        for key, factor in edit.scale.items():
            update[key] = _scaled(update.get(key, options.get(key)), factor, key, path)
        return kind.changed(options, update, path)
    except ConfigError as error:
        raise ConfigError(
            f"{error.message} (asked for by: {edit.why})" if edit.why else error.message, error.path
        ) from None


def _scaled(value: Any, factor: Any, key: str, path: str) -> float:
    if not finite(value) or not finite(factor):
        raise ConfigError(f"cannot multiply {key}, which is {shown(value)}, by {shown(factor)}", path)
    return float(value * factor)
