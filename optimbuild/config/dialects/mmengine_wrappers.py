"""Several wrappers in one ``optim_wrapper``, each for the module of its name, or for its ``modules``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optimbuild.config.dialects.mmengine import (
    KEY,
    SHARED,
    constructor_named,
    default_scope,
    is_wrapper,
    of_wrapper,
)
from optimbuild.config.dialects.mmengine_modules import KEY as MODULES
from optimbuild.config.dialects.mmengine_modules import MULTI, OF_SEVERAL, OURS, called, selection
from optimbuild.config.reading import Reading
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import join

BARE = ("OptimWrapper", "OptimWrapperDict")
"""The types that may be beside the wrappers, where some strategies put them."""


def read_each(raw: Mapping[str, Any], world_size: int = 1) -> dict[str, Reading]:
    """Translate each wrapper into a spec, by its name.

    Args:
        raw: The keys of the config that are read, as plain data.
        world_size: The number of ranks.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path; or a key beside the wrappers that is none.
    """
    scope, found = default_scope(raw), dict[str, Reading]()
    constructor_named(raw[KEY].get("constructor"), join(KEY, "constructor"))  # refused where it is, and not in each
    for name, wrapper in each_wrapper(raw[KEY]).items():
        path = join(KEY, name)
        module, expressions = selection(name, wrapper, path)
        reading = of_wrapper(wrapper, path, scope, world_size, several=True)
        found[name] = replace(reading, module=module, modules=expressions)
    return found


def each_wrapper(wrappers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the configs of several wrappers, by the names of their modules, with what is beside them for all.

    Args:
        wrappers: The ``optim_wrapper`` of a config, as plain data or not.

    Raises:
        ConfigError: A key beside the wrappers is none, or a wrapper has a key that is for a single one.

    >>> each_wrapper({"paramwise_cfg": {}, "critic": {"optimizer": {"type": "sgd"}}})
    {'critic': {'paramwise_cfg': {}, 'optimizer': {'type': 'sgd'}}}
    """
    shared = {key: wrappers[key] for key in SHARED if wrappers.get(key) is not None}
    outer, found = called(shared.get("constructor")), dict[str, dict[str, Any]]()
    if outer in OF_SEVERAL and "paramwise_cfg" in shared:
        raise ConfigError(f"{outer} takes none beside several wrappers, but one in each", join(KEY, "paramwise_cfg"))
    for name, wrapper in wrappers.items():
        path = join(KEY, name)
        if name in SHARED:
            continue
        if name == "type" and isinstance(wrapper, str) and wrapper in BARE and outer not in OF_SEVERAL:
            continue
        if not is_wrapper(wrapper):
            raise ConfigError(
                "beside wrappers for several optimizers, each key must name a module and hold its `optimizer`; "
                f"this is {shown(wrapper)}",
                path,
            )
        own = {key: value for key, value in wrapper.items() if value is not None or key not in SHARED}
        _refuse_misplaced(own, outer, path)
        found[name] = {**shared, **own}
    with_modules = [name for name, wrapper in found.items() if MODULES in wrapper]
    without = [name for name in found if name not in with_modules]
    if outer == MULTI and with_modules and without:
        told = f"is required: {MULTI} asks each optimizer for it once one has it, as {with_modules[0]!r} does"
        raise ConfigError(told, join(KEY, without[0], MODULES))
    return found


def _refuse_misplaced(wrapper: Mapping[str, Any], outer: str, path: str) -> None:
    """Raise a ConfigError for a constructor that one of several wrappers cannot have."""
    inner = called(wrapper.get("constructor"))
    if "constructor" in wrapper and outer in (OURS, *OF_SEVERAL) and inner != OURS:
        raise ConfigError(
            f"{shown(inner)} is not asked inside of several optimizers. With {OURS} beside them write "
            f"paramwise_cfg=dict(like={inner!r}, …) in its place",
            join(path, "constructor"),
        )
