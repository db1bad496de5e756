"""What a rule wants for a parameter, and what a parameter gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model.param_info import ParamInfo

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
        edits: What the rule wants, by the parameter's name; a
            :class:`~optimbuild.model._columns.Column` of the inventory's own ``names`` is fastest.
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


def refuse_malformed(edit: Any, path: str) -> None:
    """Raise a ConfigError for an edit that a rule filled with something else than its fields say.

    Args:
        edit: The edit.
        path: Where the rule stands in the config.
    """
    for name, found in (("set", edit.set), ("scale", edit.scale)):
        if found is NOTHING or (type(found) is dict and set(map(type, found)) == {str}):  # as nearly all are
            continue
        if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
            raise ConfigError(f"the rule's Edit has {name}={shown(found)}; it must map options to values", path)
    if not isinstance(edit.freeze, bool) or not isinstance(edit.why, str):
        raise ConfigError(f"the rule returned {shown(edit)}; `freeze` must be a truth value, `why` a text", path)
    if edit.optimizer is not None and not isinstance(edit.optimizer, str):
        raise ConfigError(f"the rule's Edit has optimizer={shown(edit.optimizer)}; it must be a registered name", path)
