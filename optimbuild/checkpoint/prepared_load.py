"""A load before it happens: saved state read, matched, and converted, so that what follows cannot fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optimbuild.checkpoint.conversion import converted_entries
from optimbuild.checkpoint.fused_sgd import complete_momentum
from optimbuild.checkpoint.known_names import KnownNames, Rename
from optimbuild.checkpoint.layouts import read_state
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.matching import Match, Missing, Unexpected, match_state
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.option_changes import option_changes
from optimbuild.checkpoint.restored_options import restored_counters, restored_options
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.checkpoint.state_entries import empty_entries, initial_state
from optimbuild.checkpoint.told import told_as
from optimbuild.checkpoint.unnamed_groups import GivenNames
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown, warn
from optimbuild.plan.diff import PlanDiff

WhoseOptions = Literal["config", "checkpoint"]
"""Whose LR, weight decay and so on count after a load."""


@dataclass(frozen=True)
class Choices:
    """What the caller of a load chose, as :func:`~optimbuild.checkpoint.load_optimizer_state` describes it.

    Args:
        options: Whose options count after the load.
        missing: What happens to parameters without saved state.
        unexpected: What happens to saved state that the optimizer has no use for.
        names: The names of saved groups that have none.
        rename: What saved names are called now.
    """

    options: WhoseOptions = "config"
    missing: Missing = "error"
    unexpected: Unexpected = "error"
    names: GivenNames = None
    rename: Rename = None


@dataclass(frozen=True)
class PreparedLoad:
    """State that was read and fits.

    Args:
        saved: The saved state by name.
        match: What of it fits.
        updates: For each group, what comes back from the save: counters, and options where those of the save count.
        report: The report of the load that is about to happen.
    """

    saved: SavedState
    match: Match
    updates: list[dict[str, Any]]
    report: LoadReport


def prepare(named: NamedOptimizer, names: KnownNames, state: Any, choices: Choices, advice: str = "") -> PreparedLoad:
    """Read saved state in any layout, and match it to an optimizer. Nothing is changed.

    Args:
        named: The optimizer that resumes.
        names: The names of its model.
        state: The saved state.
        choices: What the caller chose.
        advice: What the message says about making other choices, where the caller cannot.

    Raises:
        CheckpointError: It is no state, or does not fit; the message lists every kind of mismatch, with names.
    """
    with told_as("this is no optimizer state"):
        saved = read_state(state, names, choices.names)
        names.refuse_idle_renames(saved)
    with told_as("this state cannot be compared with the optimizer"):
        match = match_state(named, saved, names, choices.missing, choices.unexpected, advice)
        updates, stay = option_updates(named, saved, match, choices.options)
        report = make_report(named, saved, match, choices.options, stay)
    if report.taken_over:
        warn(f"the saved state was {report.about_optimizer}")
    return PreparedLoad(saved, match, updates, report)


def option_updates(
    named: NamedOptimizer, saved: SavedState, match: Match, options: str
) -> tuple[list[dict[str, Any]], frozenset[str]]:
    """Return, for each group, what comes back from the save; and the options that stay although the save's count.

    Counters come back always, for they are state; options where those of the checkpoint count.

    Raises:
        CheckpointError: ``options`` is neither, or parameters of one group were saved with different options.
    """
    if options not in ("config", "checkpoint"):
        raise CheckpointError(f"options must be 'config' or 'checkpoint', not {shown(options)}")
    stayed = {name: of for name, of in saved.options.items() if name not in match.moved}
    counters = restored_counters(stayed, named)
    if options == "config":
        return counters, frozenset()
    restored, stay = restored_options(stayed, named, match)
    return [{**update, **own} for update, own in zip(restored, counters, strict=True)], stay


def make_report(
    named: NamedOptimizer, saved: SavedState, match: Match, options: str, stay: frozenset[str]
) -> LoadReport:
    """Return the report of a load that is about to happen."""
    same = named.plan is not None and saved.fingerprint == named.plan.fingerprint
    return LoadReport(
        layout=saved.layout,
        loaded=tuple(match.entries),
        changes=PlanDiff({}) if same else option_changes(saved.options, named),
        options=options,
        missing=tuple(match.missing),
        ignored=tuple(match.ignored),
        stay=tuple(sorted(stay)),
        taken_over=match.taken_over if match.entries else "",
    )


def converted_state(
    named: NamedOptimizer, match: Match, state: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the state that this rank keeps, by name, with every value ready for the optimizer.

    Args:
        named: The optimizer.
        match: The saved state that fits it.
        state: The saved values by name.

    Raises:
        CheckpointError: A number cannot be held exactly, or fused SGD cannot resume from this state.
    """
    with told_as("this state cannot be brought into the form that the optimizer keeps"):
        groups, group_of = named.optimizer.param_groups, named.group_of
        owned = [(name, param, groups[group_of[name]]) for name, param in named.owned() if name in match.entries]
        fresh = {
            name: {
                **empty_entries(named.stepper(group), group, param),
                **converted_entries(state[name], match.entries[name], param),
            }
            for name, param, group in owned
        }
        complete_momentum(named, fresh)
        return {**_initial_states(named, match.missing), **fresh}


def _initial_states(named: NamedOptimizer, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the state of parameters that start afresh, where the optimizer makes some before its first step."""
    groups, owned = named.optimizer.param_groups, dict(named.owned())
    group_of = {name: groups[named.group_of[name]] for name in names if name in owned}
    states = {name: initial_state(named.stepper(group), group, owned[name]) for name, group in group_of.items()}
    return {name: found for name, found in states.items() if found}
