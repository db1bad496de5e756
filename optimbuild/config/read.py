"""Reading a config of any dialect: recognise the dialect, override keys, translate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from mmengine.config import Config

from optimbuild.config.dialects import mmcv, mmengine, own, yacs
from optimbuild.config.dialects.mmengine_wrappers import read_each
from optimbuild.config.files import load, readable
from optimbuild.config.overrides import overridden, refuse_unread
from optimbuild.config.published import number_of_ranks
from optimbuild.config.reading import Reading
from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError
from optimbuild.messages import printable, shown, suggest
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
    if isinstance(config, Spec) and not overrides:
        return Reading(config)
    return _read(*_recognised(config, overrides), world_size)


def read_configs(config: Any, overrides: Sequence[str] = (), world_size: int | None = None) -> dict[str, Reading]:
    """Return the specs that a config describes, by the names of its optimizers; the name of a single one is empty.

    Args:
        config: As for :func:`read_config`.
        overrides: As there.
        world_size: As there.

    Raises:
        ConfigError: As :func:`read_config`.

    >>> wrapper = {"optimizer": {"type": "adamw"}}
    >>> list(read_configs({"optim_wrapper": {"generator": wrapper, "critic": wrapper}}))
    ['generator', 'critic']
    """
    if isinstance(config, Spec) and not overrides:
        return {"": Reading(config)}
    dialect, raw = _recognised(config, overrides)
    if dialect is mmengine and mmengine.wrappers_inside(raw[mmengine.KEY]):
        return read_each(raw, number_of_ranks(world_size))
    if dialect is mmcv and mmcv.names_inside(raw):
        return mmcv.read_each(raw, number_of_ranks(world_size))
    return {"": _read(dialect, raw, world_size)}


def _read(dialect: ModuleType, raw: dict[str, Any], world_size: int | None) -> Reading:
    """Translate the keys of a config that are read."""
    ranks = number_of_ranks(world_size)
    reading: Reading = dialect.read(raw, ranks) if dialect in WITH_CONSTRUCTORS else dialect.read(raw)
    return reading


def _recognised(config: Any, overrides: Sequence[str]) -> tuple[ModuleType, dict[str, Any]]:
    """Return the dialect of a config, and its keys that are read, some of them overridden."""
    raw = read_raw(config.to_dict() if isinstance(config, Spec) else config)
    if is_saved_plan(raw):
        raise ConfigError(
            "this is a saved plan, and not the config of one. To build it, give build_optimizer the path of its file, "
            "or Plan.from_json(text)"
        )
    dialect = _dialect(raw)
    if dialect is not None:
        refuse_unread(overrides, dialect.overridable(raw) if dialect in WITH_CONSTRUCTORS else dialect.KEYS)
    raw = overridden(raw, overrides)
    dialect = dialect or _dialect(raw)  # overrides may give a config its first keys, and never another dialect
    if dialect is None:
        raise ConfigError(
            f"this config is of no known dialect. A config has `optimizer` (our own), `TRAIN` (yacs) or "
            f"`optim_wrapper` (MMEngine); here there is: {', '.join(map(shown, list(raw)[:10])) or 'nothing'}."
            f"{next(filter(None, [suggest(str(key), KEYS) for key in raw]), '')}"
        )
    return dialect, raw


def is_saved_plan(raw: object) -> bool:
    """Say whether data is what :meth:`~optimbuild.Plan.to_json` wrote.

    >>> is_saved_plan({"version": 1, "fingerprint": "d1c7", "checksum": "5eef"}), is_saved_plan({"optimizer": {}})
    (True, False)
    """
    return isinstance(raw, Mapping) and {"fingerprint", "checksum"} <= raw.keys()


def _dialect(raw: Mapping[str, Any]) -> ModuleType | None:
    return next((dialect for dialect in DIALECTS if dialect.recognises(raw)), None)


def read_raw(config: Any) -> dict[str, Any]:
    """Return a config as plain data, with its files read and its inheritance resolved."""
    if isinstance(config, (str, os.PathLike)):
        path = os.fspath(config)
        if isinstance(path, str) and path.lstrip().startswith("{"):
            raise ConfigError(
                f"a config is a mapping or a path, not text: {shown(path)}. Give json.loads(text), and "
                "of a saved plan Plan.from_json(text)"
            )
        return _run(path) if path.endswith(".py") else load(path, KEYS)
    if is_empty(config) or not isinstance(config, (Mapping, Config)):
        raise ConfigError(f"a config is a mapping, a Spec or a path, not {shown(config)}")
    if isinstance(config, Config) and _is_of_mmcv(config):
        return mmcv.prepared(config)
    if mmengine.owns(config):
        return mmengine.from_object(config)
    return readable(config, KEYS)


def _run(path: str) -> dict[str, Any]:
    """Run a config file in Python, and return what is read of it."""
    config = run_config(path)
    if (
        mmengine.KEY not in config
        and not mmcv.recognises(config)
        and (ours := [key for key in mmcv.OWN_KEYS if key in config])
    ):
        raise ConfigError(
            f"{printable(path)} has {', '.join(sorted(ours))}, as our own dialect does, which is read from YAML or "
            f"JSON. In Python write `{mmengine.KEY}` with paramwise_cfg=dict(…)"
        )
    return mmcv.prepared(config) if _is_of_mmcv(config) else mmengine.from_config(config, path)


def _is_of_mmcv(config: Config) -> bool:
    """Say whether a config is of mmcv 1.x, as a file in Python with ``optimizer`` at its top always is."""
    from_python = str(config.filename).endswith(".py") and mmcv.KEY in config and mmengine.KEY not in config
    return from_python or mmcv.recognises(config)
