"""How the edits of several rules fold into one setting for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optimbuild.edits import Edit, Setting, refuse_malformed
from optimbuild.errors import ConfigError, shown
from optimbuild.optimizer_type import OptimizerType
from optimbuild.values import finite, join, plain

Base = Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
"""Returns an optimizer, by its name, and its base options; None asks for the config's own."""

Change = tuple[int, Mapping[str, Any], Mapping[str, Any]]
"""The position of a rule, and what it changed, before and after."""


def folded(
    trainable: Sequence[bool], columns: Sequence[Sequence[Edit | None]], base: Base
) -> tuple[tuple[Setting, ...], tuple[int, ...]]:
    """Fold the edits of all parameters, each as :func:`changes` tells it step by step.

    What is the same for many parameters is folded once: a large model has few distinct rows of edits,
    and these have few distinct beginnings.

    Args:
        trainable: For every parameter ``requires_grad`` before the build.
        columns: For every rule, in their order, what it wants for every parameter.
        base: What to start from.

    Returns:
        The distinct settings, in first-seen order, and for every parameter the index of its own.

    Raises:
        ConfigError: An edit asks for an option that the optimizer does not take, or for a value that it refuses.
    """
    folding = _Folding(base)
    index_of: dict[tuple[int, ...], int] = {}
    chosen = []
    for place, row in enumerate(zip(trainable, *[map(id, column) for column in columns], strict=True)):
        index = index_of.get(row)
        if index is None:
            index = index_of[row] = folding.setting(trainable[place], [column[place] for column in columns])
        chosen.append(index)
    return tuple(folding.settings), tuple(chosen)


class _Folding:
    """Remembers every state of the options that some edits led to, and which edit leads from one to the next."""

    def __init__(self, base: Base) -> None:
        self.settings: list[Setting] = []
        self._base = base
        self._states: list[tuple[OptimizerType, dict[str, Any]]] = []
        self._index_of_state: dict[Any, int] = {}
        self._index_of_start: dict[str | None, int] = {}
        self._index_of_setting: dict[int | None, int] = {}
        self._next: dict[tuple[int, str], int] = {}
        self._effects: dict[int, str] = {}

    def setting(self, trainable: bool, row: Sequence[Edit | None]) -> int:
        """Return the index of the setting to which a row of edits leads."""
        edits = [(position, edit) for position, edit in enumerate(row) if edit is not None]
        frozen, state = not trainable, self._start(_last_named(edits, self._base))
        for position, edit in edits:
            frozen = frozen or edit.freeze
            state = self._after(state, edit, position)
        key = None if frozen else state
        if key not in self._index_of_setting:
            kind, options = self._states[state]
            self._index_of_setting[key] = len(self.settings)
            self.settings.append(Setting(True, None, None) if frozen else Setting(False, kind.name, options))
        return self._index_of_setting[key]

    def _start(self, name: str | None) -> int:
        if name not in self._index_of_start:
            self._index_of_start[name] = self._state(*self._base(name))
        return self._index_of_start[name]

    def _after(self, state: int, edit: Edit, position: int) -> int:
        effect = self._effects.get(id(edit))  # the edit lives as long as its column
        if effect is None:
            effect = self._effects[id(edit)] = repr((edit.set, edit.scale))
        after = self._next.get((state, effect))
        if after is None:
            kind, options = self._states[state]
            after = self._next[state, effect] = self._state(kind, _edited(options, edit, kind, f"rules[{position}]"))
        return after

    def _state(self, kind: OptimizerType, options: dict[str, Any]) -> int:
        key = Setting(False, kind.name, options).key
        if key not in self._index_of_state:
            self._index_of_state[key] = len(self._states)
            self._states.append((kind, options))
        return self._index_of_state[key]


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
