"""Applying the rules of a spec to an inventory: what each wants for each parameter, and what is amiss with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from optimbuild.config.spec import RuleSpec
from optimbuild.edits import Bound, Call, Edit, refuse_malformed
from optimbuild.errors import ConfigError, OptimBuildError, UnknownNameError
from optimbuild.messages import listing, shown
from optimbuild.model._columns import Column
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import find_rule
from optimbuild.values import join, validated

Patterns = Sequence[tuple[str, str, Sequence[ParamInfo]]]
"""What the patterns of a rule match, by the path of the option and the pattern."""

T = TypeVar("T")


@dataclass(frozen=True)
class Applied:
    """A rule of a spec, applied to an inventory.

    Args:
        spec: The rule, as the config has it.
        path: Where it stands there.
        call: The rule, after it has seen the model.
        column: What it wants for every parameter.
    """

    spec: RuleSpec
    path: str
    call: Call
    column: Column[Edit]

    @classmethod
    def of(cls, spec: RuleSpec, path: str, inventory: Inventory) -> Applied:
        """Apply a rule.

        Raises:
            ConfigError: An unknown rule or option, a wrong value; or the rule raised, or returned nonsense.
            ModelError: A hook of the model raised, or answered nonsense.
        """
        call = bound(made_rule(spec, path), spec, path, inventory)
        column = _column(call, spec, path, inventory)
        for edit in column.distinct:
            if not isinstance(edit, Edit):
                raise ConfigError(f"rule {spec.type!r} must return an Edit or None, not {shown(edit)}", path)
            refuse_malformed(edit, path)
        return cls(spec, path, call, column)

    @property
    def patterns(self) -> Patterns:
        """What its patterns match."""
        return self.call.patterns if isinstance(self.call, Bound) else ()

    @property
    def warnings(self) -> list[str]:
        """What it noticed."""
        return [f"{self}: {text}" for text in self.call.warnings] if isinstance(self.call, Bound) else []

    @property
    def notes(self) -> list[str]:
        """Where it took its knowledge from."""
        return [f"{self.spec.type}: {text}" for text in self.call.notes] if isinstance(self.call, Bound) else []

    def __str__(self) -> str:
        return f"{self.path} ({self.spec.type})"


def made_rule(spec: RuleSpec, path: str) -> Any:
    """Return a rule with its options, checked and coerced from the types of its fields."""
    try:
        cls = find_rule(spec.type)
    except UnknownNameError as error:
        raise UnknownNameError(error.message, join(path, "type")) from None
    if hasattr(cls, "__pydantic_fields__"):
        return _guarded(lambda: validated(cls, spec.options, path), spec, path, "refuses its options:")
    return _guarded(lambda: cls(**spec.options), spec, path, "refuses its options:")


def bound(rule: Any, spec: RuleSpec, path: str, inventory: Inventory) -> Call:
    """Return the callable of a rule, after it has seen the whole model where it wants to."""
    try:
        call: Call = _guarded(lambda: rule.bind(inventory), spec, path) if hasattr(rule, "bind") else rule
    except ConfigError as error:
        if error.path.startswith(path):
            raise
        raise type(error)(error.message, f"{path}.{error.path}" if error.path else path) from error.__cause__
    return call


def _column(call: Call, spec: RuleSpec, path: str, inventory: Inventory) -> Column[Edit]:
    names = inventory.names
    if not isinstance(call, Bound):
        return Column.of(names, _guarded(lambda: [edit_for(call, param) for param in inventory.params], spec, path))
    edits = call.edits
    if isinstance(edits, Column) and edits.names is names:
        if not edits.fits:
            raise ConfigError(f"rule {spec.type!r} has a column whose numbers are not places of its table", path)
        return edits
    if names == tuple(edits):  # of a large model, names in order are found much faster than one by one
        return Column.of(names, list(edits.values()))
    wanted = list(map(edits.get, names))
    if len(list(filter(None, wanted))) < len(edits):
        _refuse_strange(edits, spec, path, inventory)
    return Column.of(names, wanted)


def _refuse_strange(names: Iterable[str], spec: RuleSpec, path: str, inventory: Inventory) -> None:
    known = frozenset(inventory.names)
    strange = [shown(name) for name in names if name not in known]
    if strange:
        raise ConfigError(f"rule {spec.type!r} has edits for {listing(strange, 5)}, which name no parameter", path)


def edit_for(call: Call, param: ParamInfo) -> Edit | None:
    """Return what a rule wants for a parameter; an alias for which it wants something counts as well."""
    edit = call(param)
    if edit is None and param.aliases and not isinstance(call, Bound):
        for alias in param.aliases:
            edit = call(_renamed(param, alias))
            if edit is not None:
                break
    return edit


def _renamed(param: ParamInfo, alias: str) -> ParamInfo:
    return ParamInfo(alias, param.shape, param.dtype, param.owner, param.bases, param.kinds, param.trainable)


def _guarded(work: Callable[[], T], spec: RuleSpec, path: str, did: str = "raised") -> T:
    """Do what a rule's author wrote; whatever it raises becomes an error of ours."""
    try:
        return work()
    except OptimBuildError:
        raise
    except Exception as error:
        raise ConfigError(f"rule {spec.type!r} {did} {type(error).__name__}: {shown(str(error), 200)}", path) from error
