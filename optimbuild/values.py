"""The values that an option may have: plain data, and types of numbers, switches and keywords."""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictBool, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from optimbuild.errors import ConfigError
from optimbuild.messages import counted, shown, suggest

MAX_DEPTH = 64
MAX_VALUES = 10_000
MAX_BITS = 64


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not a truth value")
    return value


Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
"""A finite number, or a string such as ``1e-3``, which YAML 1.1 does not read as a number."""

NonNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Ratio = Annotated[Number, Field(gt=0, le=1)]
"""A number in (0, 1]."""

Share = Annotated[Number, Field(ge=0, le=1)]
"""A number in [0, 1]."""

Switch = StrictBool
"""True or false; no number and no text."""


def _is_switch_or_warn(value: object) -> object:
    if not (value is None or isinstance(value, bool) or value == "warn"):
        raise ValueError('must be true, false, "warn", or null for the default')
    return value


SwitchOrWarn = Annotated[StrictBool | Literal["warn"] | None, BeforeValidator(_is_switch_or_warn)]
"""True, false, ``warn`` for false with a warning, or None for the default."""

Whole = Annotated[int, BeforeValidator(_not_bool)]
"""A whole number."""

Index = Annotated[Whole, Field(ge=0)]
"""A whole number from 0."""


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("must not be empty: an empty piece is in every name")
    return value


Keyword = Annotated[str, AfterValidator(_not_empty)]
"""A part of a parameter's name; never empty."""


def plain(value: Any, path: str = "") -> Any:
    """Return a copy of ``value`` made of plain data: scalars, strings, tuples and dicts.

    Lists become tuples, so that a plan cannot change afterwards. A part that is an OmegaConf config, as Hydra composes
    it, has its interpolations resolved, and its enums become their names.

    Raises:
        ConfigError: It contains a value that OmegaConf cannot resolve or that is missing (``???``), a value that is
            not plain data, a whole number of more than 64 bits, two keys with the same text, more than 64 levels, or
            more than 10,000 values (as YAML aliases of aliases do).

    >>> plain({"betas": [0.9, 0.999]})
    {'betas': (0.9, 0.999)}
    """
    return _plain(value, path, 0, iter(range(MAX_VALUES)))


def _plain(value: Any, path: str, depth: int, budget: Iterator[int]) -> Any:
    if depth > MAX_DEPTH:
        raise ConfigError(f"nested deeper than {MAX_DEPTH} levels", path[:200])
    if next(budget, None) is None:
        raise ConfigError(f"holds more than {MAX_VALUES} values")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"must be a finite number, not {value}", path)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ConfigError(f"must be a number of at most {MAX_BITS} bits, not one of {value.bit_length()}", path)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return _plain_mapping(value, path, depth, budget)
    if isinstance(value, (list, tuple)) or is_omegaconf(value):
        items = range(len(value))
        return tuple([_plain(entry(value, i, path), f"{path}[{i}]", depth + 1, budget) for i in items])
    for kind in (bool, int, float, str):  # subclasses, such as numpy's float64
        if isinstance(value, kind):
            return kind(value)
    raise ConfigError(f"must be plain data, not {shown(value)} of type {type(value).__name__}", path)


def _plain_mapping(value: Mapping[Any, Any], path: str, depth: int, budget: Iterator[int]) -> dict[str, Any]:
    copy: dict[str, Any] = {}
    for key in keys_of(value, path):
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            raise ConfigError(f"keys must be names, not {shown(key)}", path)
        name = str(_plain(key, path, depth, budget))
        if name in copy:
            raise ConfigError(f"key {shown(name)} stands twice", path)
        copy[name] = _plain(entry(value, key, path), join(path, name), depth + 1, budget)
    return copy


def is_omegaconf(value: object) -> bool:
    """Say whether a value is a config of OmegaConf. The package is not imported: who has a config has it too."""
    package = sys.modules.get("omegaconf")
    return package is not None and bool(package.OmegaConf.is_config(value))


def is_empty(value: object) -> bool:
    """Say whether a value is a config of OmegaConf that stands for None."""
    return is_omegaconf(value) and value == None  # noqa: E711  # it is no None, but equals it


def keys_of(config: Mapping[Any, Any], path: str = "") -> list[Any]:
    """Return the keys of a mapping that may be OmegaConf's.

    Raises:
        ConfigError: The whole mapping is missing or cannot be resolved.
    """
    with _resolving(path):
        return list(config)


def entry(config: Any, key: Any, path: str = "") -> Any:
    """Return one value of a mapping or list that may be OmegaConf's, and no other: those may be unresolvable.

    Args:
        config: The mapping or list.
        key: The key or index.
        path: The path of ``config``, for messages.

    Raises:
        ConfigError: The value is missing (``???``) or cannot be resolved.
    """
    with _resolving(path, key):
        value = config[key]
    if isinstance(value, enum.Enum) and is_omegaconf(config):
        return value.name
    return None if is_empty(value) else value


@contextmanager
def _resolving(path: str, *keys: Any) -> Iterator[None]:
    """Turn OmegaConf's errors, and those of its resolvers, into ConfigErrors."""
    try:
        yield
    except Exception as error:
        package = sys.modules.get("omegaconf")
        if package is None or not isinstance(error, (package.errors.OmegaConfBaseException, RecursionError)):
            raise
        where = join(path, *(key if isinstance(key, int) else str(key) for key in keys))
        if isinstance(error, package.errors.MissingMandatoryValue):
            raise ConfigError("is mandatory (`???`), and nothing gives it a value", where) from None
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"cannot be resolved: {shown(reason, 200)}", where) from error


def join(path: str, *keys: str | int) -> str:
    """Return the path of a key below ``path``.

    >>> join("rules", 1, "ratio")
    'rules[1].ratio'
    """
    for key in keys:
        if isinstance(key, int):
            path = f"{path}[{key}]"
        elif key.isidentifier() and len(key) < 80:
            path = f"{path}.{key}" if path else key
        else:
            path = f"{path}[{shown(key)}]"
    return path


def validated(schema: Any, value: Any, path: str = "") -> Any:
    """Validate a value with pydantic, and return the result; its errors become ours.

    Args:
        schema: A pydantic model or dataclass, a ``TypeAdapter``, or a type.
        value: Plain data.
        path: The path of the value in the config, for messages.

    Raises:
        ConfigError: With the path of the first wrong key, and up to two further messages.
    """
    adapter = schema if isinstance(schema, TypeAdapter) else _adapter(schema)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise _translated(error, schema, value, path) from None
    except (RecursionError, OverflowError) as error:
        raise ConfigError(f"cannot be read: {type(error).__name__}", path) from None


@lru_cache(maxsize=512)
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def _translated(error: ValidationError, schema: Any, value: Any, path: str) -> ConfigError:
    details = error.errors(include_url=False, include_context=False)
    by_path: dict[str, str] = {}
    for detail in details[:MAX_DETAILS]:
        where, what = _complaint(detail, schema, value, path)
        by_path.setdefault(where, what)
    (first, message), *others = by_path.items()
    more = [f"{where}: {what}" if where else what for where, what in others[:2]]
    return ConfigError("; ".join([message, *more]), first)


MAX_DETAILS = 20
"""The number of pydantic's errors that are read."""

WORDS = {
    "bool": "must be true or false",
    "dataclass": "must be a mapping",
    "dict": "must be a mapping",
    "float": "must be a number",
    "int": "must be a whole number",
    "list": "must be a list",
    "mapping": "must be a mapping",
    "model": "must be a mapping",
    "string": "must be a string",
    "tuple": "must be a list",
}
"""Messages about types, by the first word of pydantic's error type."""


def _complaint(detail: ErrorDetails, schema: Any, value: Any, path: str) -> tuple[str, str]:
    kind, given, missing = detail["type"], detail["input"], detail["type"] in ("missing", "missing_argument")
    keys = _keys(detail["loc"], value, missing)
    where = join(path, *keys)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return join(path, *keys[:-1]), _unknown_key(str(keys[-1]), _part(schema, keys[:-1]))
    if missing and isinstance(keys[-1], int):
        return join(path, *keys[:-1]), f"needs more than {counted(keys[-1], 'item')} (given: {shown(given)})"
    if missing:
        return where, "is required"
    word, _, sort = kind.partition("_")
    if kind == "string_too_short":
        message = "must not be empty"
    elif kind in ("too_long", "too_short"):
        message = f"must {detail['msg'].partition(' should ')[2].replace(' after validation', '')}"
    elif word in WORDS and sort in ("type", "parsing", "from_float", "attributes_type", "unicode"):
        message = WORDS[word]
    else:
        message = detail["msg"].removeprefix("Value error, ").replace("Input should be ", "must be ", 1)
        message = message[:1].lower() + message[1:]
    return where, message if isinstance(given, Mapping) and keys == [] else f"{message} (given: {shown(given)})"


def _keys(location: Sequence[str | int], value: Any, missing: bool) -> list[str | int]:
    """Return the keys of a location that are in the config; pydantic also lists the branches of unions."""
    keys: list[str | int] = []
    for depth, key in enumerate(location, start=1):
        if isinstance(value, Mapping) and isinstance(key, int) and key < len(value):
            key = list(value)[key]  # a mapping that pydantic reads as a list of entries
        if key in (value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, tuple) else ()):
            value = value[key]
        elif not (missing and depth == len(location)):
            continue
        keys.append(key)
    return keys


def _part(schema: Any, keys: Sequence[str | int]) -> Any:
    """Return the model of the field at ``keys`` inside a model; None if there is none."""
    for key in keys:
        field = getattr(schema, "model_fields", {}).get(key)
        schema = None if field is None else next(_models(field.annotation), None)
    return schema


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _unknown_key(key: str, schema: Any) -> str:
    known = fields(schema)
    hint = f"{suggest(key, known)} Known: {', '.join(known) or 'none'}." if schema is not None else ""
    return f"unknown key {shown(key)}.{hint}"


def fields(schema: Any) -> list[str]:
    """Return the names of the fields of a pydantic model or dataclass, as a config has them."""
    is_model = isinstance(schema, type) and issubclass(schema, BaseModel)
    found = schema.model_fields if is_model else getattr(schema, "__pydantic_fields__", {})
    return [field.alias or name for name, field in found.items()]


def finite(value: object) -> bool:
    """Say whether a value is a finite number, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) if isinstance(value, float) else value.bit_length() <= MAX_BITS
