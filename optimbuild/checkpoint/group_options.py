"""The options of parameter groups: which of them are saved, how they changed since, and how they come back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown
from optimbuild.plan.diff import PlanDiff

NO_OPTIONS = frozenset(("params", "param_names", "name", "param_name"))
"""The keys of a group that are about its parameters."""

IMPLEMENTATION = frozenset(("fused", "foreach", "capturable", "differentiable"))
"""Options that choose how a step is computed. They belong to the run, and not to the state."""

PLAIN = frozenset((bool, int, float, str, type(None)))
"""The types of plain values. Tuples of plain values are plain too."""

SCHEDULES = frozenset(("max_lr", "min_lr", "base_momentum", "max_momentum"))
"""What torch's LR schedulers write into a group, beside ``initial_lr`` and the like."""

INITIAL = "initial_"
"""The prefix under which schedulers keep the value that they started from."""


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group as plain values; a tensor with one element becomes a number.

    Raises:
        CheckpointError: The group is no mapping.

    >>> options_of({"params": [0], "param_names": ["w"], "lr": torch.tensor(0.5), "betas": [0.9, 0.99], "fused": True})
    {'lr': 0.5, 'betas': (0.9, 0.99)}
    """
    if not isinstance(group, Mapping):
        raise CheckpointError(f"the options of a parameter must be a mapping, not {shown(group)}")
    options = {}
    for key, value in group.items():
        if key in NO_OPTIONS or key in IMPLEMENTATION or not isinstance(key, str):
            continue
        option = value if type(value) in PLAIN else plain_option(value)
        if _is_plain(option):  # saved state holds no foreign objects
            options[key] = option
    return options


def plain_option(value: Any) -> Any:
    """Return tensors of one element as numbers, lists as tuples, and numpy's floats as floats."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, (list, tuple)):
        return tuple([plain_option(item) for item in value])
    return float(value) if isinstance(value, float) else value


def _is_plain(value: Any) -> bool:
    return type(value) in PLAIN or (isinstance(value, tuple) and all(map(_is_plain, value)))


def option_changes(saved: Mapping[str, Mapping[str, Any]], named: NamedOptimizer) -> PlanDiff:
    """Return how the options of parameters changed since the save, for those that both sides have.

    Where a scheduler kept the value that it started from, that one is compared: an LR in the middle of a
    schedule is no change of the plan.

    Args:
        saved: The saved options by parameter name.
        named: The optimizer that resumes.
    """
    groups = [_before_schedules(options_of(group)) for group in named.optimizer.param_groups]
    before: dict[str, dict[str, Any]] = {}
    after: dict[str, dict[str, Any]] = {}
    known: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]] | None] = {}
    for name, index in named.group_of.items():
        if name not in saved:
            continue
        pair = (id(saved[name]), index)
        if pair not in known:
            known[pair] = _changed(_before_schedules(saved[name]), groups[index])
        different = known[pair]
        if different is not None:
            before[name], after[name] = different
    return PlanDiff.between(before, after)


def _changed(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the options that differ, before and after. One that only newer releases of torch have is no change."""
    keys = [key for key in old if key in new and old[key] != new[key]]
    return ({key: old[key] for key in keys}, {key: new[key] for key in keys}) if keys else None


def _before_schedules(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they were before a scheduler changed them."""
    started = {key.removeprefix(INITIAL): value for key, value in options.items() if key.startswith(INITIAL)}
    own = {key: value for key, value in options.items() if not key.startswith(INITIAL) and key not in SCHEDULES}
    return {**own, **{key: value for key, value in started.items() if key in own}}


def restored_options(saved: Mapping[str, Mapping[str, Any]], named: NamedOptimizer) -> list[dict[str, Any]]:
    """Return, for each group, the options that come back from a save.

    Args:
        saved: The saved options by parameter name.
        named: The optimizer that resumes.

    Raises:
        CheckpointError: Parameters that share a group now were saved with different options.
    """
    updates: list[dict[str, Any]] = []
    for group in named.optimizer.param_groups:
        update: dict[str, Any] = {}
        source: dict[str, str] = {}
        seen: set[int] = set()
        for name in group["param_names"]:
            if name not in saved or id(saved[name]) in seen:
                continue
            seen.add(id(saved[name]))
            for key, value in saved[name].items():
                if key not in group and not key.startswith(INITIAL) and key not in SCHEDULES:
                    continue  # unknown to this optimizer, such as a factor for another project's scheduler
                if not _fits(value, group.get(key, 0.0)):
                    raise CheckpointError(
                        f"{key} was saved as {shown(value)} for {name}, and is {shown(group.get(key))} here"
                    )
                source.setdefault(key, name)
                if update.setdefault(key, value) != value:
                    raise CheckpointError(
                        f"{key} was saved as {shown(update[key])} for {source[key]} and as {shown(value)} for "
                        f"{_names_with(saved, group['param_names'], key, value)}, which share a group now. Load with "
                        "load_optimizer_state(optimizer, state, options='config') to keep the options of the config."
                    )
        updates.append(update)
    return updates


def _fits(value: Any, current: Any) -> bool:
    """Say whether a saved option can replace the current one: it has the same type and is finite."""
    if current is None:
        return value is None or isinstance(value, (str, bool)) or _fits(value, 0.0)
    if isinstance(current, str):
        return isinstance(value, str)
    if isinstance(current, (list, tuple)):
        return isinstance(value, tuple) and len(value) == len(current) and all(map(_fits, value, current))
    if isinstance(current, bool):
        return isinstance(value, bool)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _names_with(saved: Mapping[str, Mapping[str, Any]], names: Iterable[str], key: str, value: Any) -> str:
    return listing([name for name in names if name in saved and saved[name].get(key) == value])


def set_options(group: dict[str, Any], update: Mapping[str, Any]) -> None:
    """Set the options of a group. An LR that is a tensor stays the same tensor, for graphs that captured it."""
    for key, value in update.items():
        current = group.get(key)
        if isinstance(current, torch.Tensor):
            current.fill_(value)
        else:
            group[key] = list(value) if isinstance(current, list) else value
