"""Whether saved state fits an optimizer: all of it is checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from optimbuild.checkpoint.known_names import KnownNames
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.checkpoint.state_entries import (
    STEP,
    Entries,
    below_zero,
    depends_on_shape,
    expected_state,
    is_nested,
    mismatch,
    starts_with_state,
)
from optimbuild.checkpoint.suggested_rename import suggested_rename
from optimbuild.errors import CheckpointError
from optimbuild.messages import counted, listing, shown

ONLY_IN_ORDER = "which only the same parameters in the same order can take"
"""Why nested state does not fit: as that of LBFGS, it may be of all parameters together."""

Missing = Literal["error", "init"]
Unexpected = Literal["error", "ignore"]


@dataclass
class Match:
    """Saved state that fits.

    Args:
        entries: By parameter, what the optimizer keeps for it, or None where that could not be found out.
        missing: Parameters without saved state, which start afresh.
        ignored: What was saved and is not used: parameters, and entries of parameters.
        moved: By parameter, in words, which other optimizer stepped it before. Nothing of its save is used.
        taken_over: In words, which other optimizer kept all of the state, where one goes on with that of another.
    """

    entries: dict[str, Entries | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    taken_over: str = ""


def match_state(
    named: NamedOptimizer,
    saved: SavedState,
    names: KnownNames,
    missing: Missing,
    unexpected: Unexpected,
    advice: str = "",
) -> Match:
    """Check saved state against an optimizer, parameter by parameter.

    Args:
        named: The optimizer that resumes.
        saved: The saved state.
        names: The names of the optimizer's model.
        missing: ``error``, or ``init`` to start parameters without saved state afresh.
        unexpected: ``error``, or ``ignore`` to leave out what the optimizer has no use for.
        advice: A line for the message, where one of these choices would help.

    Raises:
        CheckpointError: Something does not fit; the message lists every kind of mismatch, with names.
    """
    _refuse_unknown_choice(missing, unexpected)
    match, kept = _other_optimizers(named, saved), _Kept(named)
    wrong = Mismatches(in_order=list(saved.groups) == list(named.params))
    for name, param in named.params.items():
        values = saved.state.get(name)
        if values is None:
            if name not in saved.groups or kept.starts_with_state(name, param):
                match.missing.append(name)
        elif name in match.moved:
            wrong.moved.setdefault(match.moved[name], []).append(name)
            match.missing.append(name)
        else:
            _match_one(name, param, values, kept.entries(name, param), match, wrong)
    strangers = [name for name in saved.groups if name not in named.params]
    strangers = [name for name in strangers if name in saved.state or name not in names.frozen]
    told = [f"{name} (frozen now)" if name in names.frozen else name for name in strangers]
    lines = wrong.avoidable(match, told, missing, unexpected)
    if lines and advice:
        lines.append(advice)
    lines += wrong.unavoidable()
    if lines and (rename := suggested_rename(match.missing, strangers, named.params, saved)):
        lines.append(f"the same shapes in the same order under other names: were they renamed? {rename} loads them")
    if lines:
        what = f"the saved state does not fit this {type(named.local).__name__}; nothing was loaded."
        raise CheckpointError("\n  ".join([what, *lines]))
    match.ignored = strangers + match.ignored
    return match


def _other_optimizers(named: NamedOptimizer, saved: SavedState) -> Match:
    """Return which parameters another optimizer stepped before, or that one optimizer takes over from another."""
    known = ((name, saved.options[name]) for name in named.params if name in saved.options)
    changes = {name: change for name, options in known if (change := named.other_optimizer(name, options))}
    if saved.is_of_one and len(named.steppers) == 1:
        return Match(taken_over=next(iter(changes.values()), ""))
    return Match(moved=changes)


def _refuse_unknown_choice(missing: object, unexpected: object) -> None:
    if missing not in ("error", "init") or unexpected not in ("error", "ignore"):
        raise CheckpointError(
            f"missing must be 'error' or 'init', and unexpected 'error' or 'ignore', not {shown(missing)} and "
            f"{shown(unexpected)}"
        )


class _Kept:
    """What the optimizer keeps for its parameters, looked up once for each group and form of a tensor."""

    def __init__(self, named: NamedOptimizer) -> None:
        self._named = named
        self._known: dict[Any, Entries | None] = {}
        self._starts: dict[int, bool] = {}

    def entries(self, name: str, param: torch.Tensor) -> Entries | None:
        index = self._named.group_of[name]
        form = (index, param.ndim, param.dtype, param.device)
        if form not in self._known:
            group = self._named.optimizer.param_groups[index]
            found = expected_state(self._named.stepper(group), group, param)
            if depends_on_shape(self._named.stepper(group), found):
                return found
            self._known[form] = found
        return self._known[form]

    def starts_with_state(self, name: str, param: torch.Tensor) -> bool:
        index = self._named.group_of[name]
        if index not in self._starts:
            group = self._named.optimizer.param_groups[index]
            self._starts[index] = starts_with_state(self._named.stepper(group), group, param)
        return self._starts[index]


def _match_one(
    name: str,
    param: torch.Tensor,
    values: Mapping[str, Any],
    expected: Entries | None,
    match: Match,
    wrong: Mismatches,
) -> None:
    """Check the values that were saved for one parameter."""
    if expected is not None and values.keys() != expected.keys():
        extra = [key for key in values if key not in expected]
        lacking = [key for key in expected if key not in values]
        match.ignored += [f"{name} ({key})" for key in extra]
        wrong.extra.setdefault(", ".join(extra), []).append(name)
        if lacking:
            wrong.lacking.setdefault(", ".join(lacking), []).append(name)
            match.missing.append(name)
            return
    shape, entries = param.shape, dict.fromkeys(values) if expected is None else expected
    for key, entry in entries.items():
        value = values[key]
        if is_nested(value) and (entry is None or entry.kind == "nested"):
            if not wrong.in_order:
                wrong.shapes.append(f"{name} ({key}): a {type(value).__name__} saved, {ONLY_IN_ORDER}")
            continue
        if key == STEP and (problem := below_zero(value)):
            wrong.shapes.append(f"{name} ({key}): {problem}")
            continue
        if entry is not None and type(value) is torch.Tensor and value.dtype is entry.dtype:
            here = shape if entry.kind == "like" else entry.shape or ()
            if value.shape == here:
                continue  # nearly always
        if problem := mismatch(value, entry, param):
            wrong.shapes.append(f"{name} ({key}): {problem}")
    match.entries[name] = expected


def kept_keys(expected: Entries | None, values: Mapping[str, Any]) -> Collection[str]:
    """Return the keys of the entries that are loaded: all saved ones where it is not known what the optimizer keeps."""
    return values.keys() if expected is None else expected.keys()


@dataclass
class Mismatches:
    """Everything in which a save differs from what an optimizer keeps.

    Args:
        lacking: Parameters by the entries that the optimizer keeps and the save does not have.
        extra: Parameters by the entries that the save has and the optimizer does not keep.
        moved: Parameters by the optimizer that stepped them before and the one that does now.
        shapes: Values of another shape or dtype.
        in_order: Whether the save has the optimizer's parameters, in the same order.
    """

    in_order: bool = True
    lacking: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, list[str]] = field(default_factory=dict)
    moved: dict[str, list[str]] = field(default_factory=dict)
    shapes: list[str] = field(default_factory=list)

    def avoidable(self, match: Match, strangers: list[str], missing: Missing, unexpected: Unexpected) -> list[str]:
        """Return a line for each kind of difference that another choice would allow.

        Args:
            match: What fits, and the parameters without saved state.
            strangers: Parameters that only the save has.
            missing: ``init`` where saved state may be missing.
            unexpected: ``ignore`` where the save may have more than the optimizer keeps.
        """
        found = []
        if missing == "error":
            partly = {name for names in (*self.lacking.values(), *self.moved.values()) for name in names}
            lines = [_line([name for name in match.missing if name not in partly], "without saved state")]
            lines += [_line(names, f"saved without {keys}") for keys, names in self.lacking.items()]
            lines += [_line(names, f"stepped by {change}") for change, names in self.moved.items()]
            found += [f"{line} (missing='init' starts them afresh)" for line in lines if line]
        if unexpected == "error":
            lines = [_line(strangers, "saved, but not in the optimizer")]
            lines += [_line(n, f"saved with {keys}, which it does not keep") for keys, n in self.extra.items() if keys]
            found += [f"{line} (unexpected='ignore' leaves that out)" for line in lines if line]
        return found

    def unavoidable(self) -> list[str]:
        """Return a line for the values that no choice makes fit."""
        count = counted(len(self.shapes), "value")
        return [f"{count} of another shape or dtype: {listing(self.shapes)}"] if self.shapes else []


def _line(names: list[str], what: str) -> str:
    return f"{counted(len(names), 'parameter')} {what}: {listing(names)}" if names else ""
