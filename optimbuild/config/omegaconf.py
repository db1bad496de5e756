"""OmegaConf configs, which Hydra composes, as plain data. The package is not imported: who has a config has it too."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping
from typing import Any

from optimbuild.config.files import Keys
from optimbuild.errors import ConfigError
from optimbuild.messages import shown


def is_omegaconf(config: object) -> bool:
    """Say whether a config is OmegaConf's, such as a ``DictConfig``."""
    package = sys.modules.get("omegaconf")
    return package is not None and bool(package.OmegaConf.is_config(config))


def resolved(config: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """Return the keys of an OmegaConf config that are read, with their interpolations resolved.

    The values of all other keys become None: they may be missing, or need resolvers that only training registers.

    Args:
        config: A ``DictConfig``, also of a structured config, or part of a larger config.
        keys: The keys to read.

    Raises:
        ConfigError: It is no mapping; or a key that is read is missing (``???``) or cannot be resolved.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"a config is a mapping, a Spec or a path, not {shown(config)}")
    read: dict[str, Any] = {}
    for key in config:
        inner, value = keys.get(key), _value(config, key) if key in keys else None
        if inner is not None and isinstance(value, Mapping):
            read[key] = {name: _plain(_value(value, name)) if name in inner else None for name in value}
        else:
            read[key] = _plain(value)
    return read


def _value(config: Mapping[str, Any], key: str) -> Any:
    return _refused(lambda: config[key])


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if not is_omegaconf(value):
        return value
    to_container = sys.modules["omegaconf"].OmegaConf.to_container
    return _refused(lambda: to_container(value, resolve=True, throw_on_missing=True, enum_to_str=True))


def _refused(read: Callable[[], Any]) -> Any:
    """Read a value; an error of OmegaConf, or of a resolver, becomes a ConfigError."""
    errors = sys.modules["omegaconf"].errors
    try:
        return read()
    except errors.MissingMandatoryValue as error:
        raise ConfigError("is mandatory (`???`), and nothing gives it a value", error.full_key or "") from None
    except (errors.OmegaConfBaseException, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"cannot be resolved: {shown(reason, 200)}", getattr(error, "full_key", None) or ""
        ) from error
