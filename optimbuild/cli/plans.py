"""The model and the plans that the arguments of a command ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optimbuild.errors import ConfigError, ModelError
from optimbuild.messages import listing, shown, suggest

if TYPE_CHECKING:
    from optimbuild.config import Reading
    from optimbuild.model.inventory import Inventory
    from optimbuild.plan.plan import Plan


def inventory_for(model: str | None, *configs: str) -> Inventory:
    """Return the inventory of the named model, or of the model that a Python config builds."""
    from optimbuild.model.by_name import FORMS, inventory_named

    own = next((config for config in configs if config.endswith(".py")), None)
    if model is None and own is None:
        raise ModelError(f"--model is required with this config. {FORMS}")
    return inventory_named(model or str(own))


def plans_of_file(
    config: str,
    model: Inventory,
    overrides: Sequence[str] | None,
    optimizer: str | None = None,
    world_size: int | None = None,
) -> dict[str, Plan]:
    """Return the plans of a config file in any dialect, by the names of its optimizers.

    Args:
        config: The file.
        model: The model.
        overrides: ``KEY=VALUE``.
        optimizer: The name of one optimizer, if only that is asked for.
        world_size: The number of ranks, for constructors that compute with it.

    Raises:
        ConfigError: There is no such optimizer, or the config has a mistake.
    """
    from optimbuild.plan.make import plans_of_readings

    return plans_of_readings(_readings(config, overrides, optimizer, world_size), model)


def _readings(
    config: str, overrides: Sequence[str] | None, optimizer: str | None, world_size: int | None
) -> dict[str, Reading]:
    """Return what a config file says of its optimizers, or of the one that is asked for."""
    from optimbuild.config import read_configs

    readings = read_configs(config, overrides or (), world_size)
    if optimizer is None:
        return readings
    if optimizer not in readings:
        there = [name for name in readings if name]
        told = f"{suggest(optimizer, there)} There are: {listing(there)}." if there else " It has one, without a name."
        raise ConfigError(f"this config has no optimizer {shown(optimizer)}.{told}")
    return {optimizer: readings[optimizer]}


def plan_of_file(
    config: str,
    model: Inventory,
    overrides: Sequence[str] | None,
    optimizer: str | None = None,
    world_size: int | None = None,
) -> Plan:
    """Return the plan of the one optimizer of a config file, or of the one that is asked for.

    Raises:
        ConfigError: As :func:`plans_of_file`, or there are several and none is asked for.
    """
    from optimbuild.plan.make import plan_of_reading

    return plan_of_reading(reading_of_file(config, overrides, optimizer, world_size), model)


def reading_of_file(
    config: str, overrides: Sequence[str] | None, optimizer: str | None = None, world_size: int | None = None
) -> Reading:
    """Return what a config file says of its one optimizer, or of the one that is asked for, as :func:`plan_of_file`."""
    readings = _readings(config, overrides, optimizer, world_size)
    if len(readings) > 1:
        raise ConfigError(
            f"this config has {len(readings)} optimizers; choose one with --optimizer: {listing(list(readings))}"
        )
    return next(iter(readings.values()))


def places_of_rules(config: str, reading: Reading, overrides: Sequence[str] | None) -> list[str]:
    """Return for each rule of a reading its place in the config file, such as ``config.yaml:4``; empty if unknown."""
    from optimbuild.config.places import rule_places

    keys = [f"rules[{i}]" for i in range(len(reading.spec.rules))]
    return rule_places(config, [reading.paths.get(key, key) for key in keys], overrides or ())
