"""The dialect of mmcv 1.x: ``optimizer`` at the top, with ``constructor`` and ``paramwise_cfg`` inside.

InternImage's and InternVL's projects for segmentation and detection have such configs. Those of MMGeneration and
MMEditing have several optimizers there, each for the module of its name; MMEditing calls the key ``optimizers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optimbuild.config.dialects.mmengine import constructor_named, plain_wrapper
from optimbuild.config.dialects.mmengine_optimizer import found_optimizer
from optimbuild.config.dialects.translated import OwnKeys, spec_of
from optimbuild.config.files import Keys
from optimbuild.config.published import Published
from optimbuild.config.reading import Reading
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown
from optimbuild.values import entry, join, keys_of, plain

KEY = "optimizer"
OF_MMEDITING = "optimizers"
"""What MMEditing calls the key, also where there is one optimizer only."""
INSIDE = ("constructor", "paramwise_cfg")
"""The keys of an optimizer that are no options of it."""
BESIDE = ("optimizer_config", "lr_config")
"""Keys that configs of mmcv 1.x have beside it; they are not read."""
KEYS: Mapping[str, None] = {KEY: None, OF_MMEDITING: None}
"""The keys that are read."""
DEFAULT = "DefaultOptimizerConstructor"


OWN_KEYS = frozenset(("rules", "optimizers", "zero", "implementation"))
"""Keys of our own dialect, which no config of mmcv has beside ``optimizer``."""


def recognises(raw: Mapping[str, Any]) -> bool:
    """Say whether this is a config of mmcv 1.x.

    >>> recognises({"optimizer": {"type": "AdamW", "paramwise_cfg": {}}}), recognises({"optimizer": {"type": "adamw"}})
    (True, False)
    >>> recognises({"optimizers": {"generator": {"type": "Adam"}}})
    True
    """
    key = key_of(raw)
    inside, ours = raw.get(key), OWN_KEYS - {key}
    if not isinstance(inside, Mapping) or "optim_wrapper" in raw or not ours.isdisjoint(raw):
        return False
    if key == OF_MMEDITING or _holds_several(inside):
        return "TRAIN" not in raw
    return any(key in inside for key in INSIDE) or any(key in raw for key in BESIDE)


def key_of(raw: Mapping[str, Any]) -> str:
    """Return the key that holds the optimizer, or several."""
    return OF_MMEDITING if OF_MMEDITING in raw and KEY not in raw else KEY


def names_inside(raw: Mapping[str, Any]) -> list[str]:
    """Return the names of several optimizers; none where there is one.

    >>> names_inside({"optimizer": {"generator": {"type": "Adam"}, "discriminator": {"type": "Adam"}}})
    ['generator', 'discriminator']
    """
    inside = raw.get(key_of(raw))
    return [str(name) for name in inside] if isinstance(inside, Mapping) and _holds_several(inside) else []


def _holds_several(inside: Mapping[str, Any]) -> bool:
    return bool(inside) and all(isinstance(value, Mapping) and "type" in value for value in inside.values())


def overridable(raw: Mapping[str, Any]) -> Keys:
    """Return the keys that an override may change."""
    return {key_of(raw): None}


def prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read of a config that was loaded from a Python file, as plain data.

    Args:
        config: A config with an optimizer, or several.

    Raises:
        ConfigError: An optimizer is no mapping, or has a value that cannot be in a config.
    """
    key = key_of(config)
    given = entry(config, key)
    if names_inside(config):
        return {key: {name: _prepared(entry(given, name, key), join(key, name)) for name in keys_of(given, key)}}
    return {key: _prepared(given, key)}


def _prepared(optimizer: Any, path: str) -> dict[str, Any]:
    if not isinstance(optimizer, Mapping):
        raise ConfigError(f"must be a mapping with `type`, not {shown(optimizer)}", path)
    inside = {key: optimizer[key] for key in INSIDE if key in optimizer}
    options = {key: entry(optimizer, key, path) for key in optimizer if key not in INSIDE}
    made = plain_wrapper({**inside, "optimizer": options}, path)
    return {**made.pop("optimizer"), "constructor": None, **made}


def read(raw: Mapping[str, Any], world_size: int = 1) -> Reading:
    """Translate the one optimizer into a spec.

    Args:
        raw: The keys of the config that are read, as plain data.
        world_size: The number of ranks.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path; or there are several.
    """
    key = key_of(raw)
    if names := names_inside(raw):
        one = f"{{{OF_MMEDITING!r}: <what stands under {names[0]!r}>}}"
        raise ConfigError(
            f"holds {len(names)} optimizers ({listing(names)}), each for the module of its name. A plan is of one: "
            f"give {one}, and that module. `optimbuild plan` shows them all.",
            key,
        )
    return _of_optimizer(plain(raw[key], key), key, world_size)


def read_each(raw: Mapping[str, Any], world_size: int = 1) -> dict[str, Reading]:
    """Translate each of several optimizers into a spec, by the name of its module.

    Args:
        raw: The keys of the config that are read, as plain data.
        world_size: The number of ranks.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path.
    """
    key = key_of(raw)
    given = plain(raw[key], key)
    return {
        name: replace(_of_optimizer(given[name], join(key, name), world_size), module=name)
        for name in names_inside(raw)
    }


def _of_optimizer(given: Any, path: str, world_size: int) -> Reading:
    """Translate an optimizer into a spec."""
    named, named_at = given.get("constructor"), join(path, "constructor")
    scope, name = constructor_named(DEFAULT if named is None else named, named_at)
    paramwise = given.get("paramwise_cfg")
    if paramwise is not None and not isinstance(paramwise, Mapping):
        raise ConfigError(f"must be a mapping or null, not {shown(paramwise)}", join(path, "paramwise_cfg"))
    options = {key: value for key, value in given.items() if key not in INSIDE}
    optimizer, kind = found_optimizer(options, path)
    published = Published(name, optimizer, kind, paramwise, scope, frozenset(), world_size, path, path, named_at)
    return spec_of(published, OwnKeys())
