"""What comes back into the groups of an optimizer from a save: counters always, options where the caller wants them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from optimbuild.checkpoint.group_counters import counters_at_start, counters_of, tensor_counters
from optimbuild.checkpoint.group_options import INITIAL, SCHEDULES, plain_option
from optimbuild.checkpoint.matching import Match
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.state_entries import expected_state
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown
from optimbuild.plan.decision import MEMBER

Saved = Mapping[str, Mapping[str, Any]]
"""The saved options by parameter name."""


def restored_counters(saved: Saved, named: NamedOptimizer) -> list[dict[str, Any]]:
    """Return, for each group, its counters: those of the save, or those of a fresh optimizer.

    Args:
        saved: The saved options, among which the counters are.
        named: The optimizer that resumes.

    Raises:
        CheckpointError: Parameters that share a group now were saved with different counters.
    """
    steppers = named.steppers.values()
    known = {id(each): (counters_at_start(each), counters_of(each), tensor_counters(each)) for each in steppers}
    advice = "It counts the steps of a group, so keep apart what was apart, or leave one out of the saved state."
    updates = []
    for group in named.optimizer.param_groups:
        start, counters, dtypes = known[id(named.stepper(group))]
        update = _common(saved, group, counters, advice)
        tensors = {key: torch.tensor(update[key], dtype=dtype) for key, dtype in dtypes.items() if key in update}
        updates.append({**start, **update, **tensors})
    return updates


def restored_options(saved: Saved, named: NamedOptimizer, match: Match) -> tuple[list[dict[str, Any]], frozenset[str]]:
    """Return, for each group, the options that come back; and those that do not, as they decide what is kept.

    Options that decide what is kept, such as ``amsgrad``, stay those of the optimizer where state is loaded for the
    group: the state was matched to them.

    Args:
        saved: The saved options.
        named: The optimizer that resumes.
        match: The state that fits it.

    Raises:
        CheckpointError: Parameters that share a group now were saved with different options, or an option does not fit.
    """
    advice = "Load with load_optimizer_state(optimizer, state, options='config') to keep the options of the config."
    counters = frozenset[str]().union(*map(counters_of, named.steppers.values()))
    updates, deciding = [], set()
    for group in named.optimizer.param_groups:
        # what is unknown to this optimizer stays away, such as a factor for another project's scheduler
        known = {key for options in _of_group(saved, group).values() for key in options if _is_option(key, group)}
        update = _common(saved, group, frozenset(known) - counters, advice)
        loaded = [i for i, name in enumerate(group["param_names"]) if match.entries.get(name) is not None]
        kept = _deciding(named, group, update, group["params"][loaded[0]]) if loaded else set()
        updates.append({key: value for key, value in update.items() if key not in kept})
        deciding |= kept
    return updates, frozenset(deciding)


def _is_option(key: str, group: Mapping[str, Any]) -> bool:
    return (key in group and key != MEMBER) or key.startswith(INITIAL) or key in SCHEDULES


def _of_group(saved: Saved, group: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the saved options of a group's parameters, by the first parameter that has them."""
    found: dict[int, tuple[str, Mapping[str, Any]]] = {}
    for name in group["param_names"]:
        if name in saved:
            found.setdefault(id(saved[name]), (name, saved[name]))
    return dict(found.values())


def _common(saved: Saved, group: Mapping[str, Any], keys: frozenset[str], advice: str) -> dict[str, Any]:
    """Return the saved values under some keys, which must be the same for all parameters of a group."""
    update: dict[str, Any] = {}
    source: dict[str, str] = {}
    for name, options in _of_group(saved, group).items():
        for key, value in options.items():
            if key not in keys:
                continue
            if not _fits(value, group.get(key, 0.0)):
                raise CheckpointError(
                    f"{key} was saved as {shown(value)} for {name}, and is {shown(group.get(key))} here"
                )
            source.setdefault(key, name)
            if update.setdefault(key, value) != value:
                others = _names_with(saved, group["param_names"], key, value)
                raise CheckpointError(
                    f"{key} was saved as {shown(update[key])} for {source[key]} and as {shown(value)} for {others}, "
                    f"which share a group now. {advice}"
                )
    return update


def _fits(value: Any, current: Any) -> bool:
    """Say whether a saved option can replace the current one: it has the same type, and is finite or the same."""
    if current is None:
        return value is None or isinstance(value, (str, bool)) or _fits(value, 0.0)
    if isinstance(current, str):
        return isinstance(value, str)
    if isinstance(current, (list, tuple)):
        return isinstance(value, tuple) and len(value) == len(current) and all(map(_fits, value, current))
    if isinstance(current, bool):
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) or value == current  # Prodigy's growth rate is infinite


def _names_with(saved: Saved, names: Iterable[str], key: str, value: Any) -> str:
    return listing([name for name in names if name in saved and saved[name].get(key) == value])


def _deciding(named: NamedOptimizer, group: Mapping[str, Any], update: Mapping[str, Any], param: Any) -> set[str]:
    """Return the options that differ from the group's, and with which it would keep something else."""
    changed = [key for key, value in update.items() if key in group and plain_option(group[key]) != value]
    if not changed:
        return set()
    kept = _kept_keys(named, group, param)
    if _kept_keys(named, {**group, **update}, param) == kept:
        return set()
    return {key for key in changed if _kept_keys(named, {**group, key: update[key]}, param) != kept}


def _kept_keys(named: NamedOptimizer, group: Mapping[str, Any], param: Any) -> frozenset[str]:
    return frozenset(expected_state(named.stepper(group), group, param) or ())
