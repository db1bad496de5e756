"""What a rule wants for a parameter, and how the wishes of several rules fold into one setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from optimbuild.errors import ConfigError, shown
from optimbuild.optimizer_type import OptimizerType
from optimbuild.params import ParamInfo
from optimbuild.values import finite, join, plain

NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return NOTHING


@dataclass(frozen=True, slots=True)
class Edit:
    """What one rule wants for one parameter.

    Args:
        set: Options to replace.
        scale: Factors for options, applied after ``set``.
        freeze: Take the parameter out of training; final.
        optimizer: The name of another optimizer for this parameter.
        why: The reason, for people.

    >>> Edit(scale={"lr": 0.1}, why="deformable").scale["lr"]
    0.1
    """

    set: Mapping[str, Any] = field(default_factory=_nothing)
    scale: Mapping[str, float] = field(default_factory=_nothing)
    freeze: bool = False
    optimizer: str | None = None
    why: str = ""


Call = Callable[[ParamInfo], Edit | None]


@dataclass(frozen=True)
class Bound:
    """A rule that has seen the whole model: its edits by parameter name, and what it noticed.

    Args:
        edits: What the rule wants, by the parameter's name.
        patterns: The rule's patterns: the path of the option, such as ``patterns[0]``, the pattern, and the
            parameters that match. One that nothing matches is an error, unless the rule is ``optional``.
        warnings: What the user should know.
        notes: Where the rule took its knowledge from.
    """

    edits: Mapping[str, Edit]
    patterns: Sequence[tuple[str, str, Sequence[ParamInfo]]] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __call__(self, param: ParamInfo) -> Edit | None:
        """Return what the rule wants for this parameter."""
        return self.edits.get(param.name)


@dataclass(frozen=True)
class Setting:
    """What a parameter gets: nothing if it is frozen, else an optimizer and all of its options."""

    frozen: bool
    optimizer: str | None
    options: Mapping[str, Any] | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells two settings apart; 1, 1.0 and True differ."""
        options = sorted((self.options or {}).items())
        return (self.frozen, self.optimizer, tuple((name, repr(value)) for name, value in options))


@dataclass(frozen=True)
class Step:
    """One edit that changed something: the rule, its reason, and the changed options before and after.

    Args:
        rule: The rule's name.
        why: Its reason.
        before: The changed options, as they were.
        after: The same options, as they became.
        position: The rule's place in the config, from 0.
    """

    rule: str
    why: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    position: int = 0

    def __str__(self) -> str:
        changes = ", ".join(f"{key}: {self.before.get(key)!r} → {value!r}" for key, value in self.after.items())
        return f"{self.rule}: {changes} ({self.why})"


Base = Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
"""Returns an optimizer, by its name, and its base options; None asks for the config's own."""

Change = tuple[int, Mapping[str, Any], Mapping[str, Any]]
"""The position of a rule, and what it changed, before and after."""


def fold(trainable: bool, edits: Sequence[tuple[int, Edit]], base: Base) -> tuple[Setting, list[Change]]:
    """Fold the edits of the rules, in their order, into one setting.

    For each edit, ``set`` replaces and then ``scale`` multiplies. Of the optimizers that edits name the
    last one counts, and its base options are the start. ``freeze`` is final.

    Args:
        trainable: ``requires_grad`` before the build.
        edits: With the position of each rule.
        base: What to start from.

    Returns:
        The setting, and what each edit changed that changed something.

    Raises:
        ConfigError: An edit is malformed, asks for an option that the optimizer does not take, or for a value that it
            refuses.
    """
    kind, options = base(None)
    optimizer, frozen = kind.name, not trainable
    changes: list[Change] = []
    for position, edit in edits:
        _refuse_malformed(edit, f"rules[{position}]")
        if edit.optimizer is not None:
            kind, options = _named(edit.optimizer, base, f"rules[{position}]")
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
            changes.append((position, before, after))
        options, frozen = new, frozen or edit.freeze
    return (Setting(True, None, None) if frozen else Setting(False, kind.name, options)), changes


def _named(name: str, base: Base, path: str) -> tuple[OptimizerType, dict[str, Any]]:
    try:
        return base(name)
    except ConfigError as error:
        raise ConfigError(f"of the optimizer {shown(name)} for this parameter: {error}", path) from None


def _edited(options: dict[str, Any], edit: Edit, kind: OptimizerType, path: str) -> dict[str, Any]:
    """Return the options after one edit, checked and coerced by the optimizer's own types."""
    if not edit.set and not edit.scale:
        return options
    try:
        kind.refuse_unknown([*edit.set, *edit.scale], path)
        new = {**options, **{key: plain(value, join(path, key)) for key, value in edit.set.items()}}
        for key, factor in edit.scale.items():
            new[key] = _scaled(new.get(key), factor, key, path)
        return kind.complete(new, path)
    except ConfigError as error:
        raise ConfigError(
            f"{error.message} (asked for by: {edit.why})" if edit.why else error.message, error.path
        ) from None


def _scaled(value: Any, factor: Any, key: str, path: str) -> float:
    if not finite(value) or not finite(factor):
        raise ConfigError(f"cannot multiply {key}, which is {shown(value)}, by {shown(factor)}", path)
    return float(value * factor)


def _refuse_malformed(edit: Any, path: str) -> None:
    """Raise a ConfigError for an edit that a rule filled with something else than its fields say."""
    for name in ("set", "scale"):
        found = getattr(edit, name)
        if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
            raise ConfigError(f"the rule's Edit has {name}={shown(found)}; it must map options to values", path)
    if not isinstance(edit.freeze, bool) or not isinstance(edit.why, str):
        raise ConfigError(f"the rule returned {shown(edit)}; `freeze` must be a truth value, `why` a text", path)
    if edit.optimizer is not None and not isinstance(edit.optimizer, str):
        raise ConfigError(f"the rule's Edit has optimizer={shown(edit.optimizer)}; it must be a registered name", path)
