"""Overrides: ``KEY=VALUE`` on a config that was read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from optimbuild.config.files import Keys
from optimbuild.config.parsing import parsed_yaml
from optimbuild.errors import ConfigError
from optimbuild.messages import shown, suggest
from optimbuild.values import MAX_DEPTH, join, plain

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
        keys, path, text = _split(override)
        try:
            value = parsed_yaml(text)
        except ConfigError as error:
            raise ConfigError(f"the value of --set {shown(override)} {error}") from None
        except ValueError as error:
            raise ConfigError(f"the value of --set {shown(override)} is not YAML: {error}") from None
        raw = _with(raw, keys, plain(value, path), path)
    return raw


def refuse_unread(overrides: Sequence[str], read: Keys) -> None:
    """Refuse an override of a key that is not read, which would change nothing.

    Args:
        overrides: ``KEY=VALUE``.
        read: The keys that are read.

    Raises:
        ConfigError: An override is of another key, or is none.

    >>> refuse_unread(["BASE_LR=0.1"], {"TRAIN": ["BASE_LR"]})
    Traceback (most recent call last):
    optimbuild.errors.ConfigError: --set 'BASE_LR=0.1' changes nothing: unknown key 'BASE_LR'. Did you mean ...
    """
    for override in overrides:
        keys, *_ = _split(override)
        known: Collection[str] | None = read
        for key in keys:
            if not known:  # everything below is read
                break
            if key not in known:
                raise ConfigError(
                    f"--set {shown(override)} changes nothing: unknown key {shown(key)}.{_suggested(key, known, read)} "
                    f"Known: {', '.join(known)}."
                )
            known = known[key] if isinstance(known, Mapping) else None


def _suggested(unread: str, known: Collection[str], read: Keys) -> str:
    whole = [path for path in _paths_of(read) if path.endswith(f".{unread}")]
    return f" Did you mean {whole[0]!r}?" if whole else suggest(unread, known)


def _paths_of(read: Collection[str], above: str = "") -> Iterator[str]:
    """Yield the paths of all keys that are read."""
    for key in read:
        yield join(above, key)
        if isinstance(read, Mapping):
            yield from _paths_of(read[key] or (), join(above, key))


def _split(override: str) -> tuple[list[str], str, str]:
    """Return the keys of an override, its path, and the text of its value."""
    path, equals, text = str(override).partition("=")
    if len(path) > MAX_PATH:
        raise ConfigError(f"the key of --set {shown(override)} has at most {MAX_PATH} characters, not {len(path)}")
    keys = [found["name"] or found["place"] or found["quoted"] for found in _KEY.finditer(path)]
    if not equals or not keys or _KEY.sub("", path):
        raise ConfigError(f"--set takes KEY=VALUE, such as optimizer.lr=1e-4, not {shown(override)}")
    if len(keys) > MAX_DEPTH:
        raise ConfigError(f"the key of --set {shown(override)} is deeper than {MAX_DEPTH} levels")
    return keys, path, text


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
