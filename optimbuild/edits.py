"""What a rule wants for a parameter, and how the wishes of several rules fold into one setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from optimbuild.errors import ConfigError, shown
from optimbuild.optimizer_type import OptimizerType
from optimbuild.params import ParamInfo
from optimbuild.values import finite, plain

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
        unmatched: The rule's patterns that touch no parameter, by the path of the option they stand in.
        warnings: What the user should know.
        notes: Where the rule took its knowledge from.
    """

    edits: Mapping[str, Edit]
    unmatched: Sequence[tuple[str, str]] = ()
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


def fold(
    trainable: bool, edits: Sequence[tuple[int, Edit]], base: Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
) -> tuple[Setting, list[tuple[int, Mapping[str, Any], Mapping[str, Any]]]]:
    """Fold the edits of the rules, in their order, into one setting.

    For each edit, ``set`` replaces and then ``scale`` multiplies. Of the optimizers that edits name the
    last one counts, and its base options are the start. ``freeze`` is final.

    Args:
        trainable: ``requires_grad`` before the build.
        edits: With the position of each rule.
        base: Returns an optimizer, by its name, and its base options; None asks for the config's own.

    Returns:
        The setting, and for each edit that changed something the rule's position, the options before and after.

    Raises:
        ConfigError: An edit asks for an option that the optimizer does not take, or for a value that it refuses.
    """
    named = [edit.optimizer for _, edit in edits if edit.optimizer is not None]
    kind, options = base(named[-1] if named else None)
    frozen, changes = not trainable, []
    default = base(None)[0].name if named else kind.name
    for position, edit in edits:
        before: dict[str, Any] = {"optimizer": default} if edit.optimizer is not None else {}
        after: dict[str, Any] = {"optimizer": edit.optimizer} if edit.optimizer is not None else {}
        path = f"rules[{position}]"
        kind.refuse_unknown(edit.set, path)
        kind.refuse_unknown(edit.scale, path)
        new = {**options, **{key: plain(value, path) for key, value in edit.set.items()}}
        for key, factor in edit.scale.items():
            new[key] = _scaled(new.get(key), factor, key, path)
        if new != options:
            new = _checked(kind, new, path)
        for key, value in new.items():
            if key not in options or repr(options[key]) != repr(value):
                before[key], after[key] = options.get(key), value
        if edit.freeze and not frozen:
            before["frozen"], after["frozen"], frozen = False, True, True
        options = new
        if after and (trainable or not frozen):
            changes.append((position, before, after))
    return (Setting(True, None, None) if frozen else Setting(False, kind.name, options)), changes


def _scaled(value: Any, factor: Any, key: str, path: str) -> float:
    if not finite(value) or not finite(factor):
        raise ConfigError(f"cannot multiply {key}, which is {shown(value)}, by {shown(factor)}", path)
    return float(value * factor)


def _checked(kind: OptimizerType, options: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Have the optimizer check and coerce the options that a rule changed."""
    try:
        return kind.complete(options, path)
    except ConfigError as error:
        if kind.fixed and any(options.get(key) != value for key, value in kind.fixed.items()):
            raise ConfigError(f"a rule would change what {kind.name} fixes: {error}") from None
        raise
