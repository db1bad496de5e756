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

    It goes rule by rule. What one edit makes of one state of the options is worked out once, whatever the number of
    parameters, because a large model has many parameters and few distinct edits.

    Args:
        trainable: For every parameter ``requires_grad`` before the build.
        columns: For every rule, in their order, what it wants for every parameter.
        base: What to start from.

    Returns:
        The distinct settings, in first-seen order, and for every parameter the index of its own.

    Raises:
        ConfigError: An edit asks for an option that the optimizer does not take, or for a value that it refuses.
    """
    states = _States(base, columns)
    reached: Sequence[int | None] = _starts(len(trainable), columns, states)
    for position, column in enumerate(columns):
        after = _After(states, column, position)
        reached = [after[pair] for pair in zip(reached, map(id, column.edits), strict=True)]
    for column in columns:
        if any(edit.freeze for edit in column.distinct.values()):
            pairs = zip(reached, column.edits, strict=True)
            reached = [None if edit is not None and edit.freeze else state for state, edit in pairs]
    if not all(trainable):
        reached = [state if trains else None for state, trains in zip(reached, trainable, strict=True)]
    index_of = {state: index for index, state in enumerate(dict.fromkeys(reached))}
    return tuple([states.setting(state) for state in index_of]), tuple([index_of[state] for state in reached])


def _starts(count: int, columns: Sequence[Column], states: _States) -> list[int]:
    """Return the state from which each parameter starts: the base options of the last optimizer that an edit names."""
    if not any(edit.optimizer is not None for column in columns for edit in column.distinct.values()):
        return [states.start(None)] * count
    rows = zip(*[column.edits for column in columns], strict=True)
    return [
        states.start(_last_named([(i, edit) for i, edit in enumerate(row) if edit is not None], states.base))
        for row in rows
    ]


class _States:
    """The states of the options that edits lead to: an optimizer and its options, each of them once."""

    def __init__(self, base: Base, columns: Sequence[Column]) -> None:
        self.base = base
        edits = [edit for column in columns for edit in column.distinct.values()]
        self._edited = sorted({key for edit in edits for key in (*edit.set, *edit.scale)})
        self._states: list[tuple[Any, OptimizerType, dict[str, Any]]] = []
        self._known: dict[Any, int] = {}
        self._starts: dict[str | None, int] = {}

    def start(self, name: str | None) -> int:
        """Return the state of the base options of an optimizer."""
        if name not in self._starts:
            kind, options = self.base(name)
            unedited = Setting(False, kind.name, {k: v for k, v in options.items() if k not in self._edited})
            self._starts[name] = self._add(unedited.key, kind, options)
        return self._starts[name]

    def edited(self, state: int, edit: Edit, position: int) -> int:
        """Return the state to which an edit leads."""
        unedited, kind, options = self._states[state]
        return self._add(unedited, kind, _edited(options, edit, kind, f"rules[{position}]"))

    def _add(self, unedited: Any, kind: OptimizerType, options: dict[str, Any]) -> int:
        key = (unedited, *[key in options and repr(options[key]) for key in self._edited])
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


class _After(dict[tuple[Any, int], Any]):
    """The state to which an edit, by its ``id``, leads from a state; worked out when it is first asked for."""

    def __init__(self, states: _States, column: Column, position: int) -> None:
        super().__init__()
        self.states, self.edits, self.position = states, column.distinct, position
        self.effects = {place: repr((edit.set, edit.scale)) for place, edit in self.edits.items()}
        self.by_effect: dict[tuple[int, str], int] = {}

    def __missing__(self, pair: tuple[int, int]) -> int:
        state, edit = pair
        after = state
        if edit in self.edits:
            effect = (state, self.effects[edit])
            if effect not in self.by_effect:
                self.by_effect[effect] = self.states.edited(state, self.edits[edit], self.position)
            after = self.by_effect[effect]
        self[pair] = after
        return after


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
        kind.refuse_unknown([*edit.set, *edit.scale], path)
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
