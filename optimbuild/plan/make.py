"""From a config and a model to a plan."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from optimbuild.config import Reading, Spec, read_config
from optimbuild.errors import ConfigError, ModelError, OptimBuildError, path_in
from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.named_modules import part_inside
from optimbuild.plan.apply import apply_rules
from optimbuild.plan.base_options import base_options
from optimbuild.plan.check import complaints
from optimbuild.plan.fold import Fold
from optimbuild.plan.frozen_statistics import frozen_statistics
from optimbuild.plan.groups import merged_settings, split_groups
from optimbuild.plan.notes import notes_of
from optimbuild.plan.partition import fallbacks
from optimbuild.plan.plan import Plan
from optimbuild.plan.routing import idle_optimizers, refuse_closures, refuse_wrong_tensors
from optimbuild.plan.unused import shared_tensors, unread_marks


def make_plan(config: Any, model: Any, *, overrides: tuple[str, ...] = (), world_size: int | None = None) -> Plan:
    """Return what every parameter of a model gets under a config. Changes nothing.

    Args:
        config: Anything that a dialect reads (a mapping, a yacs ``CfgNode``, an MMEngine ``Config``, a
            :class:`~optimbuild.config.spec.Spec`), or the path of a YAML or JSON file. A Python file is run
            as an MMEngine config.
        model: An ``nn.Module`` (real, meta, or wrapped), an :class:`~optimbuild.Inventory`, or the
            path of an inventory file.
        overrides: ``KEY=VALUE`` in the config's own dialect.
        world_size: The number of ranks, for what a config computes from it, as MMYOLO's do; by default that of the
            process group.

    Raises:
        ConfigError: The config is wrong somewhere, or asks for what this model does not have.
        ModelError: The model cannot be planned, or one of its hooks raised.

    >>> import torch
    >>> plan = make_plan({"optimizer": {"type": "adamw", "lr": 1e-3}}, torch.nn.Linear(2, 2))
    >>> plan["bias"].lr
    0.001
    """
    return plan_of_reading(read_config(config, overrides, world_size), inventory_of(model))


def inventory_of(model: Any) -> Inventory:
    """Return the inventory of a module or a file; torch is imported for a module only."""
    if isinstance(model, Inventory):
        return model.copy()
    if isinstance(model, (str, os.PathLike)):
        return Inventory.read(model)
    from optimbuild.model.survey import inventory

    return inventory(model)


def plan_of_reading(reading: Reading, inventory: Inventory) -> Plan:
    """Return the plan of a config that was read already.

    A warning says where the config's alternative reading, such as the published code's, would differ.
    """
    inventory, told = _part(reading, inventory)
    try:
        plan = planned(reading.spec, inventory, [*reading.warnings, *told], reading.paths)
    except ConfigError as error:
        raise error.moved(reading.paths) from error.__cause__
    if reading.rival is None:
        return plan
    return replace(plan, warnings=(*plan.warnings, *_differences(plan, *reading.rival)))


def _part(reading: Reading, inventory: Inventory) -> tuple[Inventory, list[str]]:
    """Return what the optimizer of a config is for, and warnings."""
    try:
        if reading.module:
            return inventory.below(reading.module), []
        return part_inside(inventory, reading.modules) if reading.modules else (inventory, [])
    except ModelError as error:
        raise ConfigError(str(error), reading.paths.get("", "")) from None


def plans_of_readings(readings: Mapping[str, Reading], inventory: Inventory) -> dict[str, Plan]:
    """Return the plans of the optimizers of one config, by name; names in the plan of a module begin below it.

    Raises:
        ConfigError: As :func:`plan_of_reading`, or two of them would optimize the same tensor.
    """
    plans = {name: plan_of_reading(reading, inventory) for name, reading in readings.items()}
    owners: dict[int, str] = {}
    for name, plan in plans.items():
        start = f"{module}." if (module := readings[name].module) else ""
        trained = [f"{start}{decision.name}" for decision in plan if not decision.frozen]
        for param, position in zip(trained, inventory.positions(trained), strict=True):
            if (other := owners.setdefault(position, name)) != name:
                path = readings[name].paths.get("", "")
                raise ConfigError(f"{param!r} is optimized by {other!r} too; freeze it in one of them", path)
    left = [p.name for position, p in enumerate(inventory) if p.trainable and position not in owners]
    if len(plans) > 1 and left:
        first, plan = next(iter(plans.items()))
        told = f"trainable, and in no optimizer: {listing(left)}"
        plans[first] = replace(plan, warnings=(*plan.warnings, told))
    return plans


def _differences(plan: Plan, name: str, rival: Reading) -> list[str]:
    """Return, as a warning, what another reading of the same config would give."""
    try:
        lines = plan.diff(plan_of_reading(rival, plan.inventory)).lines()
    except OptimBuildError as error:
        return [f"{name} this config would fail: {error}"]
    return [f"{name} it would differ: {'; '.join(lines[:5])}{'' if len(lines) < 6 else '; …'}"] if lines else []


def planned(
    spec: Spec, model: Inventory, warnings: Sequence[str] = (), paths: Mapping[str, str] = MappingProxyType({})
) -> Plan:
    """Apply a spec to an inventory. Changes nothing.

    Args:
        spec: The canonical config.
        model: The model's parameters and hints.
        warnings: What the dialect noticed.
        paths: For keys of the spec their paths in the dialect, for warnings.

    Raises:
        ConfigError: An unknown rule, optimizer or option, a wrong value, a rule or pattern that
            touches no parameter (unless ``strict`` is off), or everything frozen.
        ModelError: A hook of the model raised, or answered nonsense.
    """
    base = base_options(spec)
    for name in (None, *spec.optimizers):
        base(name)  # refuses a wrong one
    rules = [replace(rule, place=path_in(rule.path, paths)) for rule in apply_rules(spec.rules, model)]
    told = [*warnings, *complaints(rules, model, spec.strict)]
    notes = [*notes_of(rules, base), *shared_tensors(rules), *unread_marks(rules, model)]
    fold = Fold(base)
    settings, chosen = merged_settings([param.trainable for param in model], rules, fold)
    told += split_groups(settings)
    kept = dict.fromkeys([module for rule in rules for module in rule.edits.kept])
    if more := [module for module in frozen_statistics(rules, model) if module not in kept]:
        kept |= dict.fromkeys(more)
        notes.append(f"running statistics are kept since 0.2, where rules freeze all parameters: {listing(more)}")
    if all(settings[index].frozen for index in set(chosen)):
        raise ConfigError(
            "every parameter is frozen, so there is nothing to optimize. Frozen: " + listing(list(model.names), 5)
        )
    told += idle_optimizers(spec, rules, fold.trained_by)
    plan = Plan(spec, model, settings, chosen, tuple(told), tuple(notes), tuple(kept))
    refuse_wrong_tensors(plan.groups, rules)
    refuse_closures(plan.groups, rules)
    kernels = [(group.optimizer, group.implementation) for group in plan.groups]  # refuses an impossible one
    reasons = fallbacks(spec, plan.trainable_dtypes, kernels)
    return replace(plan, notes=(*notes, *reasons)) if reasons else plan
