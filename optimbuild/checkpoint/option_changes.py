"""How the options of parameters changed since a save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimbuild.checkpoint.group_counters import counters_of
from optimbuild.checkpoint.group_options import INITIAL, SCHEDULES, options_of
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.plan.diff import PlanDiff

CYCLED_MOMENTUM = frozenset(("base_momentum", "max_momentum"))
"""What is in a group whose momentum, or first beta, torch's ``OneCycleLR`` or ``CyclicLR`` moves."""


def option_changes(saved: Mapping[str, Mapping[str, Any]], named: NamedOptimizer) -> PlanDiff:
    """Return how the options of parameters changed since the save, for those that both sides have.

    What a schedule moves is no change of the plan. Where a scheduler kept the value that it started from, that one is
    compared; where it cycles between values of its own, nothing is. Counters are state, and no options.

    Args:
        saved: The saved options by parameter name.
        named: The optimizer that resumes.
    """
    counters = frozenset[str]().union(*map(counters_of, named.steppers.values()))
    groups = [options_of(group) for group in named.optimizer.param_groups]
    before: dict[str, dict[str, Any]] = {}
    after: dict[str, dict[str, Any]] = {}
    known: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]] | None] = {}
    for name, index in named.group_of.items():
        if name not in saved:
            continue
        pair = (id(saved[name]), index)
        if pair not in known:
            known[pair] = _changed(saved[name], groups[index], counters)
        different = known[pair]
        if different is not None:
            before[name], after[name] = different
    return PlanDiff.between(before, after)


def _changed(
    saved: Mapping[str, Any], current: Mapping[str, Any], counters: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the options that differ, before and after. One that only newer releases of torch have is no change."""
    old, new = _before_schedules(saved), _before_schedules(current)
    old |= _cycled(old, new, saved.keys() | current.keys())
    keys = [key for key in old if key in new and key not in counters and old[key] != new[key]]
    return ({key: old[key] for key in keys}, {key: new[key] for key in keys}) if keys else None


def _before_schedules(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they were before a scheduler changed them."""
    started = {key.removeprefix(INITIAL): value for key, value in options.items() if key.startswith(INITIAL)}
    own = {key: value for key, value in options.items() if not key.startswith(INITIAL) and key not in SCHEDULES}
    return {**own, **{key: value for key, value in started.items() if key in own}}


def _cycled(old: Mapping[str, Any], new: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    """Return the current values of what a schedule moves between values of its own, on either side."""
    moved = ["lr"] if keys & SCHEDULES else []
    if keys & CYCLED_MOMENTUM:
        moved += ["momentum", "betas"]
    values = {key: new[key] for key in moved if key in new and key in old}
    if "betas" in values:
        values["betas"] = (*new["betas"][:1], *old["betas"][1:])  # the schedule moves the first one
    return values
