"""From a config and a model to a plan."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from optimbuild.config import Reading, read_config
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.model.inventory import Inventory
from optimbuild.plan.plan import Plan, planned


def make_plan(config: Any, model: Any, *, overrides: tuple[str, ...] = ()) -> Plan:
    """Return what every parameter of a model gets under a config. Changes nothing.

    Args:
        config: Anything that a dialect reads (a mapping, a yacs ``CfgNode``, an MMEngine ``Config``, a
            :class:`~optimbuild.config.spec.Spec`), or the path of a YAML or JSON file; or of a Python file, which is
            an MMEngine config and is run.
        model: An ``nn.Module`` (real, meta, or wrapped), an :class:`~optimbuild.Inventory`, or the
            path of an inventory file.
        overrides: ``KEY=VALUE`` in the config's own dialect.

    Raises:
        ConfigError: The config is wrong somewhere, or asks for what this model does not have.
        ModelError: The model cannot be planned, or one of its hooks raised.

    >>> import torch
    >>> plan = make_plan({"optimizer": {"type": "adamw", "lr": 1e-3}}, torch.nn.Linear(2, 2))
    >>> plan["bias"].lr
    0.001
    """
    return plan_of(read_config(config, overrides), inventory_of(model))


def inventory_of(model: Any) -> Inventory:
    """Return the inventory of a module or a file; torch is imported for a module only."""
    if isinstance(model, Inventory):
        return model.apart()
    if isinstance(model, (str, os.PathLike)):
        return Inventory.read(model)
    from optimbuild.model.survey import inventory

    return inventory(model)


def plan_of(reading: Reading, inventory: Inventory) -> Plan:
    """Return the plan of a config that was read already; warns where its other reading would differ."""
    try:
        plan = planned(reading.spec, inventory, reading.warnings)
    except ConfigError as error:
        raise error.moved(reading.paths) from error.__cause__
    if reading.rival is None:
        return plan
    return replace(plan, warnings=(*plan.warnings, *_differences(plan, *reading.rival)))


def _differences(plan: Plan, name: str, rival: Reading) -> list[str]:
    """Return, as a warning, what another reading of the same config would give."""
    try:
        lines = plan.diff(plan_of(rival, plan.inventory)).lines()
    except OptimBuildError as error:
        return [f"{name} this config would fail: {error}"]
    return [f"{name} it would differ: {'; '.join(lines[:5])}{'' if len(lines) < 6 else '; …'}"] if lines else []
