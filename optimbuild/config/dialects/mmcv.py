"""The dialect of mmcv 1.x: ``optimizer`` at the top, with ``constructor`` and ``paramwise_cfg`` inside.

InternImage's and InternVL's projects for segmentation and detection have such configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimbuild.config.dialects.mmengine import constructor_named, plain_wrapper
from optimbuild.config.dialects.mmengine_optimizer import found_optimizer
from optimbuild.config.dialects.translated import OwnKeys, spec_of
from optimbuild.config.published import Published
from optimbuild.config.reading import Reading
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import entry, plain

KEY = "optimizer"
INSIDE = ("constructor", "paramwise_cfg")
"""The keys of ``optimizer`` that are no options of it."""
BESIDE = ("optimizer_config", "lr_config")
"""Keys that configs of mmcv 1.x have beside it; they are not read."""
KEYS: Mapping[str, None] = {KEY: None}
"""The keys that are read."""
DEFAULT = "DefaultOptimizerConstructor"


OWN_KEYS = frozenset(("rules", "optimizers", "zero", "implementation"))
"""Keys of our own dialect, which no config of mmcv has beside ``optimizer``."""


def recognises(raw: Mapping[str, Any]) -> bool:
    """Say whether this is a config of mmcv 1.x.

    >>> recognises({"optimizer": {"type": "AdamW", "paramwise_cfg": {}}}), recognises({"optimizer": {"type": "adamw"}})
    (True, False)
    """
    inside = raw.get(KEY)
    if not isinstance(inside, Mapping) or "optim_wrapper" in raw or not OWN_KEYS.isdisjoint(raw):
        return False
    return any(key in inside for key in INSIDE) or any(key in raw for key in BESIDE)


def prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read of a config that was loaded from a Python file, as plain data.

    Args:
        config: A config with ``optimizer``.

    Raises:
        ConfigError: ``optimizer`` is no mapping, or has a value that cannot be in a config.
    """
    optimizer = entry(config, KEY)
    if not isinstance(optimizer, Mapping):
        raise ConfigError(f"must be a mapping with `type`, not {shown(optimizer)}", KEY)
    inside = {key: optimizer[key] for key in INSIDE if key in optimizer}
    options = {key: entry(optimizer, key, KEY) for key in optimizer if key not in INSIDE}
    made = plain_wrapper({**inside, "optimizer": options}, KEY)
    return {KEY: {**made.pop("optimizer"), "constructor": None, **made}}


def read(raw: Mapping[str, Any], world_size: int = 1) -> Reading:
    """Translate ``optimizer`` into a spec.

    Args:
        raw: The keys of the config that are read, as plain data.
        world_size: The number of ranks.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path.
    """
    given = plain(raw[KEY], KEY)
    named = given.get("constructor")
    named_at = f"{KEY}.constructor"
    scope, name = constructor_named(DEFAULT if named is None else named, named_at)
    paramwise = given.get("paramwise_cfg")
    if paramwise is not None and not isinstance(paramwise, Mapping):
        raise ConfigError(f"must be a mapping or null, not {shown(paramwise)}", f"{KEY}.paramwise_cfg")
    options = {key: value for key, value in given.items() if key not in INSIDE}
    optimizer, kind = found_optimizer(options, KEY)
    published = Published(name, optimizer, kind, paramwise, scope, frozenset(), world_size, KEY, KEY, named_at)
    return spec_of(published, OwnKeys())
