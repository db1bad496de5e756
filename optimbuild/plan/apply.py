"""Applying the rules of a spec to an inventory: what each rule wants for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from optimbuild.config.spec import RuleSpec
from optimbuild.edits import Edit, Edits, refuse_malformed
from optimbuild.errors import ConfigError, OptimBuildError, RuleError, UnknownNameError
from optimbuild.messages import place_raised, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import RULES, find_rule
from optimbuild.values import join, validated

T = TypeVar("T")


@dataclass(frozen=True)
class Applied:
    """A rule of a spec, applied to an inventory.

    Args:
        spec: The rule, as the config has it.
        path: Its place there, such as ``rules[1]``.
        edits: What it wants for the model.
        place: What the user wrote it as, in the config's own dialect.
    """

    spec: RuleSpec
    path: str
    edits: Edits
    place: str = ""

    def __str__(self) -> str:
        return f"{self.place or self.path} ({self.spec.type})"

    @cached_property
    def frozen(self) -> frozenset[str]:
        """The names of the parameters that the rule freezes."""
        edits = self.edits
        freezing = {number for number, edit in enumerate(edits.table) if edit is not None and edit.freeze}
        if not freezing:
            return frozenset()
        return frozenset([param.name for param, n in zip(edits.model, edits.numbers, strict=True) if n in freezing])


def apply_rules(specs: Sequence[RuleSpec], model: Inventory) -> list[Applied]:
    """Apply the rules of a config.

    A rule whose class says ``after_freezing`` is asked after the others, and sees in ``model.frozen`` what they freeze.

    Args:
        specs: The rules, in the order of the config.
        model: The inventory.

    Returns:
        The rules in the same order.

    Raises:
        ConfigError: As :func:`applied`, which has the other errors too.
    """
    late = [getattr(_class_of(spec, f"rules[{i}]"), "after_freezing", False) for i, spec in enumerate(specs)]
    found: dict[int, Applied] = {}
    for turn in (False, True):
        frozen = frozenset[str]().union(*[rule.frozen for rule in found.values()])
        seen = model.with_frozen(frozen) if frozen else model
        found |= {i: applied(spec, f"rules[{i}]", seen) for i, spec in enumerate(specs) if bool(late[i]) is turn}
    return [found[i] for i in range(len(specs))]


def applied(spec: RuleSpec, path: str, model: Inventory) -> Applied:
    """Apply a rule.

    Args:
        spec: The rule, as the config has it.
        path: Its place there.
        model: The inventory.

    Raises:
        ConfigError: An unknown rule or option, or a wrong value.
        RuleError: The rule raised, or returned nonsense.
        ModelError: A hook of the model raised, or answered nonsense.
    """
    rule = made_rule(spec, path)
    try:
        edits = _guarded(lambda: _edits_of(rule, spec, model), spec, path)
    except ConfigError as error:
        if error.path.startswith(path):
            raise
        raise type(error)(error.message, f"{path}.{error.path}" if error.path else path) from error.__cause__
    for edit in edits.table[1:]:
        if not isinstance(edit, Edit):
            raise RuleError(f"rule {spec.type!r} must return an Edit or None, not {shown(edit)}", path)
        refuse_malformed(edit, path)
    return Applied(spec, path, edits)


def made_rule(spec: RuleSpec, path: str) -> Any:
    """Return a rule with its options, checked and coerced from the types of its fields."""
    cls = _class_of(spec, path)
    if hasattr(cls, "__pydantic_fields__"):
        return _guarded(lambda: validated(cls, spec.options, path), spec, path, "refuses its options:")
    return _guarded(lambda: cls(**spec.options), spec, path, "refuses its options:")


def _class_of(spec: RuleSpec, path: str) -> Any:
    try:
        return find_rule(spec.type)
    except UnknownNameError as error:
        raise UnknownNameError(error.message, join(path, "type")) from None


def _edits_of(rule: Any, spec: RuleSpec, model: Inventory) -> Edits:
    """Ask a rule for its edits: all at once, or one parameter after the other."""
    bound = rule.bind(model) if hasattr(rule, "bind") else rule
    if isinstance(bound, Edits):
        if bound.model is not model:
            raise RuleError(f"rule {spec.type!r} returned the edits of another model than it was given")
        return bound
    if not callable(bound):
        raise RuleError(
            f"bind(model) of rule {spec.type!r} must return the Edits that it made, not {shown(bound)}: "
            "`edits = Edits(model)`, `edits.give(who, edit)`, `return edits`"
        )
    return _asked_one_by_one(bound, model)


def _asked_one_by_one(call: Callable[[ParamInfo], Edit | None], model: Inventory) -> Edits:
    """Return the edits of a rule that answers for one parameter."""
    edits = Edits(model)
    for param in model:
        try:
            edit = _edit_for(call, param)
        except OptimBuildError:
            raise
        except Exception as error:
            error.add_note(f"{_ASKED_FOR}{shown(param.name, 300)}")
            raise
        if edit is not None:
            edits.give([param], edit)
    return edits


_ASKED_FOR = "The rule was asked for the parameter "
"""The beginning of the note on an error that a rule raises for one parameter."""


def _edit_for(call: Callable[[ParamInfo], Edit | None], param: ParamInfo) -> Edit | None:
    """Return a rule's edit for a parameter. A rule that has none is asked about the aliases too."""
    edit = call(param)
    for alias in param.aliases:
        if edit is not None:
            break
        edit = call(param._replace(name=alias, aliases=()))
    return edit


def _guarded(work: Callable[[], T], spec: RuleSpec, path: str, did: str = "raised") -> T:
    """Run the code of a rule's author, and turn any exception into ours."""
    try:
        return work()
    except OptimBuildError:
        raise
    except Exception as error:
        asked = [
            note.removeprefix(_ASKED_FOR) for note in getattr(error, "__notes__", ()) if note.startswith(_ASKED_FOR)
        ]
        place = place_raised(error) or str(RULES.origin(spec.type))
        raise RuleError(
            f"rule {spec.type!r} {did} {type(error).__name__}: {shown(str(error), 200)} "
            f"({place}{f', for the parameter {asked[0]}' if asked else ''})",
            path,
        ) from error
