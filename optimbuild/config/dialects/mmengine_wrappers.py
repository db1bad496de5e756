"""Several wrappers in one ``optim_wrapper``, each for the module of its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optimbuild.config.dialects.mmengine import KEY, default_scope, is_wrapper, of_wrapper
from optimbuild.config.reading import Reading
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import join

SHARED = ("paramwise_cfg", "constructor")
"""The keys beside the wrappers that serve those without their own."""
BARE = ("OptimWrapper", "OptimWrapperDict")
"""The types that may be beside the wrappers, where some strategies put them."""


def read_each(raw: Mapping[str, Any], world_size: int = 1) -> dict[str, Reading]:
    """Translate each wrapper into a spec, by the name of its module.

    Args:
        raw: The keys of the config that are read, as plain data.
        world_size: The number of ranks.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path; or a key beside the wrappers that is none.
    """
    wrappers, readings = raw[KEY], dict[str, Reading]()
    shared = {key: wrappers[key] for key in SHARED if wrappers.get(key) is not None}
    for name, wrapper in wrappers.items():
        path = join(KEY, name)
        if name in SHARED or (name == "type" and wrapper in (None, *BARE)):
            continue
        if not is_wrapper(wrapper):
            raise ConfigError(
                "beside wrappers for several optimizers, each key must name a module and hold its `optimizer`; "
                f"this is {shown(wrapper)}",
                path,
            )
        if "modules" in wrapper:
            raise ConfigError(
                f"is read where there is one optimizer; here {name!r} is for the module of its name",
                join(path, "modules"),
            )
        own = {key: value for key, value in wrapper.items() if value is not None or key not in SHARED}
        readings[name] = replace(of_wrapper({**shared, **own}, path, default_scope(raw), world_size), module=name)
    return readings
