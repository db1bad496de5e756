"""The types of options in words that a reader of a config understands."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from optimbuild.patterns import PatternText
from optimbuild.spec import RuleSpec, Switch, ZeroSpec
from optimbuild.values import Keyword

SIMPLE: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    type(None): "null",
    Any: "anything plain",
}
NAMED: Mapping[Any, str] = {
    Switch: "true or false",
    PatternText: "[pattern](concepts.md#patterns)",
    Keyword: "string",
    RuleSpec: "mapping with `type`",
    ZeroSpec: "mapping of options",
}
PLURALS = {"mapping with `type`": "mappings with `type`", "mapping of options": "mappings of options"}


def words(annotation: Any) -> str:
    """Return a type in words.

    >>> words(tuple[float, float]), words(bool | None), words(Literal["auto", "fused"])
    ('2 numbers', 'true or false, or null', '`auto` or `fused`')
    """
    for known, text in NAMED.items():
        if annotation == known:
            return text
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(words(inside[0]), inside[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inside)
    if origin in (Union, types.UnionType):
        return _either([words(one) for one in inside])
    if origin is tuple:
        if inside[1:] == (...,):
            either = get_origin(inside[0]) in (Union, types.UnionType)
            return f"list, each entry a {words(inside[0])}" if either else f"list of {plural(words(inside[0]))}"
        return f"{len(inside)} {plural(words(inside[0]))}"
    if origin is Mapping:
        return f"mapping from {words(inside[0])} to {words(inside[1])}"
    if annotation in SIMPLE:
        return SIMPLE[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping of options"
    raise TypeError(f"no words for {annotation!r}: add them to {__name__}")


def plural(text: str) -> str:
    """Return the plural of a type in words."""
    if text in PLURALS:
        return PLURALS[text]
    for one in ("whole number", "number", "string", "[pattern]"):
        if text.startswith(one):
            return text.replace(one, one.replace("]", "s]") if "]" in one else f"{one}s", 1)
    return text


def _either(texts: list[str]) -> str:
    texts = list(dict.fromkeys(texts))
    return ", or a ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts).replace("a null", "null")


def _bounded(text: str, metadata: tuple[Any, ...]) -> str:
    limits: dict[type, float] = {}
    for item in metadata:
        for limit in item.metadata if isinstance(item, FieldInfo) else [item]:
            if isinstance(limit, (Ge, Gt, Le, Lt)):
                limits[type(limit)] = getattr(limit, type(limit).__name__.lower())
    low, high = limits.get(Ge, limits.get(Gt)), limits.get(Le, limits.get(Lt))
    if low is not None and high is not None:
        return f"{text} in {'[' if Ge in limits else '('}{low}, {high}{']' if Le in limits else ')'}"
    if Ge in limits:
        return f"{text} from {low}"
    return text if low is None else f"{text} above {low}"


def hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a class with what they are annotated with."""
    return typing.get_type_hints(cls, include_extras=True)
