"""Overrides: ``KEY=VALUE`` on a config that was read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from optimbuild.config.parsing import parsed_yaml
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import MAX_DEPTH, plain

MAX_PATH = 10_000
"""The limit on the length of the key of an override, in characters."""

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
        if len(path) > MAX_PATH:
            raise ConfigError(f"the key of --set {shown(override)} has at most {MAX_PATH} characters, not {len(path)}")
        keys = [found["name"] or found["place"] or found["quoted"] for found in _KEY.finditer(path)]
        if not equals or not keys or _KEY.sub("", path):
            raise ConfigError(f"--set takes KEY=VALUE, such as optimizer.lr=1e-4, not {shown(override)}")
        if len(keys) > MAX_DEPTH:
            raise ConfigError(f"the key of --set {shown(override)} is deeper than {MAX_DEPTH} levels")
        try:
            value = parsed_yaml(text)
        except ConfigError as error:
            raise ConfigError(f"the value of --set {shown(override)} {error}") from None
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
