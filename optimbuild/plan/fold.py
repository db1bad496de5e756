"""Folding: how the edits of several rules become one setting for each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from optimbuild.edits import Edit
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.plan.base_options import Base
from optimbuild.plan.decision import FROZEN, MEMBER, Setting
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import finite, join, plain

Options = dict[str, Any]


class Change(NamedTuple):
    """What one edit changed.

    Args:
        rule: The position of its rule in the config.
        why: Its reason.
        before: The changed options, as they were.
        after: The same options, as they became.
        factors: The factors of those that were multiplied.
    """

    rule: int
    why: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    factors: Mapping[str, float]


class Fold:
    """Folds the edits of one parameter after the other.

    The base options of the optimizer come first; then each edit in the order of the rules: ``set`` replaces, ``scale``
    multiplies, ``freeze`` is final. The last optimizer that an edit names is used, and folding starts from its base
    options. A large model has many parameters and few distinct edits, so each pair of options and edit is computed
    once.

    Args:
        base: What to start from.

    Attributes:
        trained_by: The names of the optimizers that some setting has; None for the config's own.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self.trained_by: set[str | None] = set()
        self._edited: dict[tuple[int, int], tuple[Options, Edit, Options]] = {}

    def setting(self, trainable: bool, edits: Sequence[tuple[int, Edit]], log: list[Change] | None = None) -> Setting:
        """Return what a parameter gets.

        Args:
            trainable: ``requires_grad`` before the build.
            edits: What the rules want for it, each with the position of its rule in the config.
            log: A list to which every change is added; changes after freezing are not logged.

        Raises:
            ConfigError: An edit asks for an option that the optimizer does not take, or for a value that it refuses.
        """
        name = _optimizer_named(edits, self._base)
        if name is not None and name.lower() == self._base(None)[0].name.lower():
            name = None  # the config's own, which a rule may name
        kind, options = self._base(name)
        frozen, current = not trainable, None if log is None else self._base(None)[0].name
        for position, edit in edits:
            new = self._after(options, edit, kind, position)
            if log is not None and current is not None and not frozen:
                named = current if edit.optimizer is None else self._base(edit.optimizer)[0].name
                change = _change(position, edit, (current, options), (named, new))
                log += [change] if change.after else []
                current = named
            options, frozen = new, frozen or edit.freeze
        if frozen:
            return FROZEN
        self.trained_by.add(name)
        groups = [edit.group for _, edit in edits if edit.group]
        return Setting(False, kind.name, options, groups[-1] if groups else "")

    def _after(self, options: Options, edit: Edit, kind: OptimizerType, position: int) -> Options:
        """Return the options after one edit, computed once."""
        key = (id(options), id(edit))
        if key not in self._edited:  # the values keep the objects of the ids alive
            meant = edit if kind is self._base(None)[0] else _meant_for(kind, edit)
            self._edited[key] = (options, edit, _edited(options, meant, kind, f"rules[{position}]"))
        return self._edited[key][2]


def _change(position: int, edit: Edit, old: tuple[str, Options], new: tuple[str, Options]) -> Change:
    """Return what an edit changed: the optimizer, its options, and whether the parameter is trained."""
    (was, options), (is_now, changed) = old, new
    before: Options = {"optimizer": was} if is_now != was else {}
    after: Options = {"optimizer": is_now} if is_now != was else {}
    for key, value in changed.items():
        if key not in options or repr(options[key]) != repr(value):
            before[key], after[key] = options.get(key), value
    if edit.group:
        before["group"], after["group"] = "", edit.group
    if edit.freeze:
        before["frozen"], after["frozen"] = False, True
    factors = {key: factor for key, factor in edit.scale.items() if key in after and key not in edit.set}
    return Change(position, edit.why, before, after, factors)


def _optimizer_named(edits: Sequence[tuple[int, Edit]], base: Base) -> str | None:
    """Return the name of the optimizer that counts: the last one that an edit names."""
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


def _edited(options: Options, edit: Edit, kind: OptimizerType, path: str) -> Options:
    """Return the options after one edit, checked and coerced by the optimizer's own types."""
    if not edit.set and not edit.scale and not edit.marks:
        return options
    asked = chain(edit.set.items(), edit.marks.items())
    given = {key: plain(value, join(path, key)) for key, value in asked}
    marks = {key: given.pop(key) for key in (*edit.marks, *kind.group_marks) if key in given} if given else {}
    if not kind.known.issuperset(options):
        marks = {key: value for key, value in options.items() if not kind.takes(key)} | marks
    try:
        _refuse_marked_options(edit.marks, kind)
        kind.refuse_unknown((*given, *edit.scale), path)
        for key, factor in edit.scale.items():
            given[key] = _scaled(given.get(key, options.get(key)), factor, key, path)
        taken = {key: value for key, value in options.items() if key not in marks} if marks else options
        changed = kind.changed(taken, given, path)
    except ConfigError as error:
        raise ConfigError(
            f"{error.message} (asked for by: {edit.why})" if edit.why else error.message, error.path
        ) from None
    return changed | marks if marks else changed


def _meant_for(kind: OptimizerType, edit: Edit) -> Edit:
    """Return an edit without less weight decay, where another optimizer than the config's own has none at all."""
    if "weight_decay" in kind.known or kind.open or edit.set.get("weight_decay", 0) != 0:
        return edit
    kept = [{key: value for key, value in of.items() if key != "weight_decay"} for of in (edit.set, edit.scale)]
    return replace(edit, set=kept[0], scale=kept[1])


def _refuse_marked_options(marks: Mapping[str, Any], kind: OptimizerType) -> None:
    for key in marks:
        if key in kind.known or key in RESERVED:
            raise ConfigError(f"{shown(key)} cannot be a mark: it is what {kind.name} itself has in a group")


RESERVED = ("params", "param_names", "name", "initial_lr", MEMBER)
"""What torch, and an optimizer of several, keep in a group beside options."""


def _scaled(value: Any, factor: Any, key: str, path: str) -> float:
    if not finite(value) or not finite(factor):
        raise ConfigError(f"cannot multiply {key}, which is {shown(value)}, by {shown(factor)}", path)
    return float(value * factor)
