"""Reading a config of any dialect: recognise the dialect, override keys, translate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.config.dialects import mmengine, own, yacs
from optimbuild.config.files import load, readable
from optimbuild.config.omegaconf import is_omegaconf, resolved
from optimbuild.config.overrides import overridden
from optimbuild.config.reading import Reading
from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError
from optimbuild.messages import shown

DIALECTS = (mmengine, own, yacs)
KEYS = {key: inner for dialect in DIALECTS for key, inner in dialect.KEYS.items()}
"""The keys that the dialects read."""


def read_config(config: Any, overrides: Sequence[str] = ()) -> Reading:
    """Return the spec that a config describes, whatever its dialect.

    Args:
        config: A :class:`~optimbuild.config.spec.Spec`, a mapping, a yacs ``CfgNode``, an MMEngine ``Config``, an
            OmegaConf config as Hydra composes it, or the path of a YAML or JSON file; or of a Python file, which is an
            MMEngine config and **is run**.
        overrides: ``KEY=VALUE``, in the config's own dialect; the value is read as YAML.

    Raises:
        ConfigError: The config cannot be read, is of no known dialect, or has a mistake; names the place.
    """
    if isinstance(config, Spec):
        if not overrides:
            return Reading(config)
        config = config.to_dict()
    raw = overridden(read_raw(config), overrides)
    for dialect in DIALECTS:
        if dialect.recognises(raw):
            reading: Reading = dialect.read(raw)
            return reading
    raise ConfigError(
        f"this config is of no known dialect. A config has `optimizer` (our own), `TRAIN` (yacs) or `optim_wrapper` "
        f"(MMEngine); here there is: {', '.join(map(shown, list(raw)[:10])) or 'nothing'}."
    )


def read_raw(config: Any) -> dict[str, Any]:
    """Return a config as plain data, with its files read and its inheritance resolved."""
    if isinstance(config, (str, os.PathLike)):
        path = os.fspath(config)
        return mmengine.from_file(path) if path.endswith(".py") else load(path, KEYS)
    if is_omegaconf(config) or (isinstance(config, Mapping) and any(map(is_omegaconf, config.values()))):
        config = resolved(config, KEYS)
    if mmengine.owns(config):
        return mmengine.prepared(config)
    if not isinstance(config, Mapping):
        raise ConfigError(f"a config is a mapping, a Spec or a path, not {shown(config)}")
    return readable(config, KEYS)
