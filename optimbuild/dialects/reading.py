"""Reading a config of any dialect: find out which one it is, override keys, translate."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.dialects import mmengine, own, yacs
from optimbuild.dialects.files import load, parsed_yaml, readable
from optimbuild.dialects.types import Reading
from optimbuild.errors import ConfigError, shown
from optimbuild.spec import Spec
from optimbuild.values import plain

DIALECTS = (mmengine, own, yacs)
KEYS = {key: inner for dialect in DIALECTS for key, inner in dialect.KEYS.items()}
"""What any dialect reads of a config."""


def read(config: Any, overrides: Sequence[str] = ()) -> Reading:
    """Return the spec that a config describes, whatever its dialect.

    Args:
        config: A :class:`~optimbuild.spec.Spec`, a mapping, a yacs ``CfgNode``, an MMEngine ``Config``, or the path
            of a YAML or JSON file; of a Python file as well, which is an MMEngine config and **is run**.
        overrides: ``KEY=VALUE``, in the config's own dialect; the value is read as YAML.

    Raises:
        ConfigError: It cannot be read, is of no known dialect, or is wrong somewhere; names the place.
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
    """Return a config as plain data, its files read and its inheritance resolved."""
    if isinstance(config, (str, os.PathLike)):
        path = os.fspath(config)
        return mmengine.from_file(path) if path.endswith(".py") else load(path, KEYS)
    if mmengine.owns(config):
        return mmengine.prepared(config)
    if not isinstance(config, Mapping):
        raise ConfigError(f"a config is a mapping, a Spec or a path, not {shown(config)}")
    return readable(config, KEYS)


_KEY = re.compile(r"""(?:^|(?<=.)\.)(?P<name>[^.\[\]]+)|\[(?P<place>\d+)\]|\[(['"])(?P<quoted>.+?)\3\]""")


def overridden(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the config in which some keys have other values.

    >>> overridden({"rules": ({"type": "layer_decay", "ratio": 0.9},)}, ["rules[0].ratio=0.8"])
    {'rules': ({'type': 'layer_decay', 'ratio': 0.8},)}
    >>> overridden({"table": {"blocks.0": {}}}, ["table['blocks.0'].lr_mult=0.5"])
    {'table': {'blocks.0': {'lr_mult': 0.5}}}
    """
    for override in overrides:
        path, equals, text = str(override).partition("=")
        keys = [found["name"] or found["place"] or found["quoted"] for found in _KEY.finditer(path)]
        if not equals or not keys or _KEY.sub("", path):
            raise ConfigError(f"--set takes KEY=VALUE, such as optimizer.lr=1e-4, not {shown(override)}")
        try:
            value = parsed_yaml(text)
        except ValueError as error:
            raise ConfigError(f"the value of --set {shown(override)} is not YAML: {error}") from None
        raw = _with(raw, keys, plain(value, path), path)
    return raw


def _with(node: Any, keys: list[str], value: Any, path: str) -> Any:
    if not keys:
        return value
    key, *deeper = keys
    if isinstance(node, tuple):
        if not key.isdecimal() or len(key) > 9 or int(key) >= len(node):
            raise ConfigError(f"--set {shown(path)}: there is no entry {shown(key)} in a list of {len(node)}")
        place = int(key)
        return (*node[:place], _with(node[place], deeper, value, path), *node[place + 1 :])
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"--set {shown(path)}: {shown(node)} has no key {shown(key)}")
    node = node or {}
    return {**node, key: _with(node.get(key), deeper, value, path)}
