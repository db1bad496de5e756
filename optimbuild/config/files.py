"""Config files in YAML and JSON, with the inheritance of yacs projects."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from optimbuild.config.parsing import MAX_BYTES, MAX_FILES, Budget, parsed_json, parsed_yaml
from optimbuild.errors import ConfigError
from optimbuild.messages import printable, shown
from optimbuild.values import entry, keys_of, plain

Keys = Mapping[str, Collection[str] | None]
"""The top-level keys that a dialect reads; each with the keys that it reads below (a mapping, if it does not read all
below these), or None for all."""


def readable(raw: Mapping[Any, Any], keys: Keys) -> dict[str, Any]:
    """Return the keys of a config that are read, as plain data; the value of every other key becomes None.

    Raises:
        ConfigError: A key that is read has a value that is not plain data, or that OmegaConf cannot resolve.

    >>> readable({"TRAIN": {"BASE_LR": 0.1, "EMA": print}, "DATA": print}, {"TRAIN": ["BASE_LR"]})
    {'TRAIN': {'BASE_LR': 0.1, 'EMA': None}, 'DATA': None}
    """
    kept: dict[Any, Any] = {}
    for key in keys_of(raw):
        value, inner = entry(raw, key) if key in keys else None, keys.get(key)
        if inner is not None and isinstance(value, Mapping):
            value = {k: entry(value, k, key) if k in inner else None for k in keys_of(value, key)}
        kept[key] = value
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
    return _inherited(os.path.abspath(path), printable(path), (), {"BASE": None, **keys}, Budget())


def _inherited(path: str, given: str, above: tuple[str, ...], keys: Keys, budget: Budget) -> dict[str, Any]:
    if path in above:
        files = " → ".join(printable(os.path.basename(file)) for file in (*above, path))
        raise ConfigError(f"{given} is its own BASE: {files}", "BASE")
    budget.files -= 1
    if budget.files < 0:
        raise ConfigError(f"more than {MAX_FILES} files inherit from each other", "BASE")
    parsed = _parsed(path, given, budget)
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
            merged = _merged(merged, _inherited(os.path.abspath(below), printable(below), (*above, path), keys, budget))
    return _merged(merged, raw)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _parsed(path: str, given: str, budget: Budget) -> dict[str, Any]:
    text = _text(path, given, budget)
    is_json = path.endswith(".json")
    try:
        found = parsed_json(text) if is_json else parsed_yaml(text, budget)
    except ConfigError as error:
        raise ConfigError(f"{error.message} (in {given})") from None
    except ValueError as error:
        raise ConfigError(f"{given} is not {'JSON' if is_json else 'YAML'}: {error}") from None
    if found is None:
        raise ConfigError(f"{given} is empty")
    if not isinstance(found, dict):
        raise ConfigError(f"{given} must hold a mapping, not {shown(found)}")
    return found


def _text(path: str, given: str, budget: Budget) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(budget.bytes + 1)
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise ConfigError(f"{given}: {getattr(error, 'strerror', None) or error}") from None
    budget.bytes -= len(data)
    if budget.bytes < 0:
        raise ConfigError(f"{given} is too large: a config has at most {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{given} is not text") from None
