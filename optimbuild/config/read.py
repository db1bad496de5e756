"""Reading a config of any dialect: recognise the dialect, override keys, translate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from mmengine.config import Config

from optimbuild.config.dialects import mmcv, mmengine, own, yacs
from optimbuild.config.files import load, readable
from optimbuild.config.overrides import overridden, refuse_unread
from optimbuild.config.published import number_of_ranks
from optimbuild.config.reading import Reading
from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model.mmengine_config import run_config
from optimbuild.values import is_empty

DIALECTS = (mmengine, mmcv, own, yacs)
WITH_CONSTRUCTORS = (mmengine, mmcv)
"""The dialects whose configs name a constructor, which may compute with the number of ranks."""
KEYS = {key: inner for dialect in DIALECTS for key, inner in dialect.KEYS.items()}
"""The keys that the dialects read."""


def read_config(config: Any, overrides: Sequence[str] = (), world_size: int | None = None) -> Reading:
    """Return the spec that a config describes, whatever its dialect.

    Args:
        config: A :class:`~optimbuild.config.spec.Spec`, a mapping, a yacs ``CfgNode``, an MMEngine ``Config``, an
            OmegaConf config as Hydra composes it, or the path of a YAML or JSON file; or of a Python file, which is an
            MMEngine config and **is run**.
        world_size: The number of ranks, for constructors that compute with it; by default that of the process group.
        overrides: ``KEY=VALUE``, in the config's own dialect, for keys that it reads; the value is read as YAML.

    Raises:
        ConfigError: The config cannot be read, is of no known dialect, or has a mistake; names the place. Or an
            override is of a key that the dialect does not read.
    """
    if isinstance(config, Spec):
        if not overrides:
            return Reading(config)
        config = config.to_dict()
    raw = read_raw(config)
    dialect = _dialect(raw)
    if dialect is not None:
        refuse_unread(overrides, dialect.OVERRIDABLE)
    raw = overridden(raw, overrides)
    dialect = dialect or _dialect(raw)  # overrides may give a config its first keys, and never another dialect
    if dialect is None:
        raise ConfigError(
            f"this config is of no known dialect. A config has `optimizer` (our own), `TRAIN` (yacs) or "
            f"`optim_wrapper` (MMEngine); here there is: {', '.join(map(shown, list(raw)[:10])) or 'nothing'}."
        )
    ranks = number_of_ranks(world_size)
    reading: Reading = dialect.read(raw, ranks) if dialect in WITH_CONSTRUCTORS else dialect.read(raw)
    return reading


def _dialect(raw: Mapping[str, Any]) -> ModuleType | None:
    return next((dialect for dialect in DIALECTS if dialect.recognises(raw)), None)


def read_raw(config: Any) -> dict[str, Any]:
    """Return a config as plain data, with its files read and its inheritance resolved."""
    if isinstance(config, (str, os.PathLike)):
        path = os.fspath(config)
        return _run(path) if path.endswith(".py") else load(path, KEYS)
    if is_empty(config) or not isinstance(config, (Mapping, Config)):
        raise ConfigError(f"a config is a mapping, a Spec or a path, not {shown(config)}")
    if mmengine.owns(config):
        return mmengine.prepared(config)
    return readable(config, KEYS)


def _run(path: str) -> dict[str, Any]:
    """Run a config file in Python, and return what is read of it."""
    config = run_config(path)
    if mmengine.KEY not in config and mmcv.KEY in config:
        return mmcv.prepared(config)
    return mmengine.from_config(config, path)
