"""Config files: YAML and JSON, read safely, with the inheritance of yacs projects."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from optimbuild.errors import ConfigError, shown
from optimbuild.values import plain

LARGEST = 4 * 2**20
"""The largest config file that is read, in bytes."""


class _Loader(yaml.SafeLoader):
    """YAML without tags that run code, and without keys that stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = (key.tag, str(key.value))
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(name)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def loaded_value(text: str) -> Any:
    """Return what a piece of YAML says."""
    return yaml.load(text, _Loader)  # noqa: S506  # a subclass of SafeLoader


def load(path: str) -> dict[str, Any]:
    """Return a config file as plain data, with the files under its ``BASE`` key beneath it.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.json`` file.

    Raises:
        ConfigError: It is missing, empty, too large, binary, nested too deep, or neither YAML nor JSON.
    """
    return _inherited(os.path.abspath(path), path, ())


def _inherited(path: str, given: str, above: tuple[str, ...]) -> dict[str, Any]:
    if path in above:
        raise ConfigError(f"{given} is its own BASE: {' → '.join(os.path.basename(p) for p in (*above, path))}")
    if len(above) > 32:
        raise ConfigError(f"{given}: more than 32 files inherit from each other")
    raw = _parsed(path, given)
    if "BASE" not in raw:
        return raw
    bases = raw.pop("BASE") or ()
    merged: dict[str, Any] = {}
    for base in (bases,) if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise ConfigError(f"{given}: must be a list of files, not {shown(bases)}", "BASE")
        if base:
            below = os.path.join(os.path.dirname(path), base)
            merged = _merged(merged, _inherited(os.path.abspath(below), below, (*above, path)))
    return _merged(merged, raw)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _parsed(path: str, given: str) -> dict[str, Any]:
    try:
        text = _text(path, given)
        found = json.loads(text) if path.endswith(".json") else loaded_value(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{given} is not YAML: {_one_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{given} is nested too deep") from None
    except ValueError as error:
        raise ConfigError(f"{given} cannot be read: {_one_line(error)}") from None
    if found is None:
        raise ConfigError(f"{given} is empty")
    if not isinstance(found, dict):
        raise ConfigError(f"{given} must hold a mapping, not {shown(found)}")
    try:
        copy: dict[str, Any] = plain(found)
    except ConfigError as error:
        raise ConfigError(f"{given}: {error}") from None
    return copy


def _text(path: str, given: str) -> str:
    try:
        if os.path.getsize(path) > LARGEST:
            raise ConfigError(f"{given} has {os.path.getsize(path)} bytes; a config has at most {LARGEST}")
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{given} is not text") from None
    except OSError as error:
        raise ConfigError(f"{given}: {error.strerror}") from None


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(str(problem).split())[:300] + where
