"""How the edits of several rules fold into one setting for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optimbuild.edits import Column, Edit, Setting, refuse_malformed
from optimbuild.errors import ConfigError, shown
from optimbuild.optimizer_type import OptimizerType
from optimbuild.values import finite, join, plain

Base = Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
"""Returns an optimizer, by its name, and its base options; None asks for the config's own."""

Change = tuple[int, Mapping[str, Any], Mapping[str, Any]]
"""The position of a rule, and what it changed, before and after."""


def folded(
    trainable: Sequence[bool], columns: Sequence[Column], base: Base
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
    effects = list(map(states.effects, columns))
    rows = list(zip(trainable, *effects, strict=True))
    index_of: dict[int | None, int] = {}
    chosen = {}
    for row in dict.fromkeys(rows):
        state = states.reached(*row)
        chosen[row] = index_of.setdefault(state, len(index_of))
    return tuple([states.setting(state) for state in index_of]), tuple(map(chosen.__getitem__, rows))


class _States:
    """The states of the options that edits lead to: an optimizer and its options, each of them once.

    Args:
        base: What to start from.
        columns: What every rule wants.
    """

    def __init__(self, base: Base, columns: Sequence[Column]) -> None:
        edits = [edit for column in columns for edit in column.distinct]
        self._base = base
        self._edited = sorted({key for edit in edits for key in (*edit.set, *edit.scale)})
        self._effects: list[Edit | None] = [None]
        self._states: list[tuple[Any, OptimizerType, dict[str, Any]]] = []
        self._known: dict[Any, int] = {}
        self._starts: dict[str | None, int] = {}
        self._after: dict[tuple[int, int], int] = {}
        self._names_optimizers = any(edit.optimizer is not None for edit in edits)

    def effects(self, column: Column) -> Sequence[int]:
        """Return for every parameter a number for its edit, the same for edits that only differ in their reason.

        No edit is 0, and no number stands for edits of two rules.
        """
        known: dict[str, int] = {}
        numbers = []
        for edit in column.edits:
            effect = "" if edit is None else repr((edit.set, edit.scale, edit.freeze, edit.optimizer))
            if effect and effect not in known:
                known[effect] = len(self._effects)
                self._effects.append(edit)
            numbers.append(known.get(effect, 0))
        return list(map(numbers.__getitem__, column.numbers))

    def reached(self, trains: bool, *effects: int) -> int | None:
        """Return the state to which edits lead, or None for that of a frozen parameter.

        Args:
            trains: Whether the parameter is trainable before the build.
            effects: For each rule what :meth:`effects` gave to its edit.
        """
        state, frozen = self._start(self._named(effects)), not trains
        for position, effect in enumerate(effects):
            edit = self._effects[effect]
            if edit is not None:
                step = (state, effect)
                if step not in self._after:
                    unedited, kind, options = self._states[state]
                    self._after[step] = self._add(unedited, kind, _edited(options, edit, kind, f"rules[{position}]"))
                state, frozen = self._after[step], frozen or edit.freeze
        return None if frozen else state

    def _named(self, effects: Sequence[int]) -> str | None:
        """Return the name of the optimizer that counts."""
        if not self._names_optimizers:
            return None
        edits = [(i, edit) for i, edit in enumerate([self._effects[n] for n in effects]) if edit is not None]
        return _last_named(edits, self._base)

    def _start(self, name: str | None) -> int:
        if name not in self._starts:
            kind, options = self._base(name)
            unedited = Setting(False, kind.name, {k: v for k, v in options.items() if k not in self._edited})
            self._starts[name] = self._add(unedited.key, kind, options)
        return self._starts[name]

    def _add(self, unedited: Any, kind: OptimizerType, options: dict[str, Any]) -> int:
        key = (unedited, *[key in options and _told_apart(options[key]) for key in self._edited])
        if key not in self._known:
            self._known[key] = len(self._states)
            self._states.append((unedited, kind, options))
        return self._known[key]

    def setting(self, state: int | None) -> Setting:
        """Return a state as a setting; None is that of a frozen parameter."""
        if state is None:
            return Setting(True, None, None)
        _, kind, options = self._states[state]
        return Setting(False, kind.name, options)


def _told_apart(value: Any) -> Any:
    """Return what tells an option's values apart, the quickest there is; 1, 1.0 and True differ, and 0.0 and -0.0."""
    return value if type(value) is float and value else repr(value)


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
    if not edit.set and not edit.scale:
        return options
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
