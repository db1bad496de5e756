"""Config files: YAML and JSON, read safely, with the inheritance of yacs projects."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import plain

LARGEST = 2**20
"""The size limit of a config file, in bytes."""


class _Loader(yaml.SafeLoader):
    """YAML without tags that run code and without repeated keys, and with a limit on merges (``<<``)."""

    merged = 0

    def flatten_mapping(self, node: Any) -> None:
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for below in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    if isinstance(below, yaml.MappingNode):
                        self.flatten_mapping(below)
                        self.merged += len(below.value)
                    if self.merged > MAX_MERGED:  # merges of merges grow exponentially
                        raise yaml.constructor.ConstructorError(None, None, "too much is merged (<<)", key.start_mark)
        super().flatten_mapping(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {shown(name)} stands twice", key.start_mark
                    )
                seen.add(name)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


MAX_MERGED = 10_000
"""The limit on the number of keys that the merges of a file copy."""


def parsed_yaml(text: str) -> Any:
    """Return the data of a YAML text.

    Raises:
        ValueError: The text is not YAML, has an impossible value, or is nested too deep; the message is one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a subclass of SafeLoader
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except Exception as error:  # noqa: BLE001  # PyYAML lets every exception of its constructors escape
        raise ValueError(_one_line(error)) from None


def parsed_json(text: str) -> Any:
    """Return the data of a JSON text.

    Raises:
        ValueError: The text is not JSON, repeats a key, or is nested too deep; the message is one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {shown(next(name for name in names if names.count(name) > 1))} stands twice")
    return made


Keys = Mapping[str, Collection[str] | None]
"""The top-level keys that a dialect reads; each with the keys that it reads below, or None for all."""


def readable(raw: Mapping[Any, Any], keys: Keys) -> dict[str, Any]:
    """Return the keys of a config that are read, as plain data; the value of every other key becomes None.

    Raises:
        ConfigError: A key that is read has a value that is not plain data.

    >>> readable({"TRAIN": {"BASE_LR": 0.1, "EMA": print}, "DATA": print}, {"TRAIN": ["BASE_LR"]})
    {'TRAIN': {'BASE_LR': 0.1, 'EMA': None}, 'DATA': None}
    """
    kept: dict[Any, Any] = {}
    for key, value in raw.items():
        inner = keys.get(key)
        if key in keys and (inner is None or not isinstance(value, Mapping)):
            kept[key] = value
        else:
            kept[key] = {k: v if k in inner else None for k, v in value.items()} if inner is not None else None
    plain_data: dict[str, Any] = plain(kept)
    return plain_data


def load(path: str, keys: Keys) -> dict[str, Any]:
    """Return the keys of a config file that are read; the file overrides those under its ``BASE`` key.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.json`` file.
        keys: The keys to read.

    Raises:
        ConfigError: The file is missing, empty, too large, binary, nested too deep, or neither YAML nor JSON.
    """
    return _inherited(os.path.abspath(path), path, (), {"BASE": None, **keys}, iter(range(MOST_FILES)))


MOST_FILES = 100
"""The limit on the number of files that a config inherits from, itself included."""


def _inherited(path: str, given: str, above: tuple[str, ...], keys: Keys, budget: Iterator[int]) -> dict[str, Any]:
    if path in above:
        raise ConfigError(f"{given} is its own BASE: {' → '.join(os.path.basename(p) for p in (*above, path))}", "BASE")
    if next(budget, None) is None:
        raise ConfigError(f"more than {MOST_FILES} files inherit from each other", "BASE")
    parsed = _parsed(path, given)
    try:
        raw = readable(parsed, keys)
    except ConfigError as error:
        raise ConfigError(f"{error.message} (in {given})", error.path) from None
    bases = raw.pop("BASE", None) or ()
    bases = (bases,) if isinstance(bases, str) else bases
    if not isinstance(bases, tuple) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"must be a list of files, not {shown(bases)} (in {given})", "BASE")
    merged: dict[str, Any] = {}
    for base in bases:
        if base:
            below = os.path.join(os.path.dirname(path), base)
            merged = _merged(merged, _inherited(os.path.abspath(below), below, (*above, path), keys, budget))
    return _merged(merged, raw)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _parsed(path: str, given: str) -> dict[str, Any]:
    text = _text(path, given)
    is_json = path.endswith(".json")
    try:
        found = parsed_json(text) if is_json else parsed_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{given} is not {'JSON' if is_json else 'YAML'}: {error}") from None
    if found is None:
        raise ConfigError(f"{given} is empty")
    if not isinstance(found, dict):
        raise ConfigError(f"{given} must hold a mapping, not {shown(found)}")
    return found


def _text(path: str, given: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise ConfigError(f"{given}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST:
        raise ConfigError(f"{given} is too large: a config has at most {LARGEST} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{given} is not text") from None


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(str(problem).split())[:300] + where
