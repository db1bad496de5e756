"""Columns: one value per parameter, stored once per distinct value."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def column(items: Sequence[T], key: Callable[[T], Hashable], value: Callable[[T], Any]) -> dict[str, list[Any]]:
    """Return a column as JSON data.

    Args:
        items: One for each parameter.
        key: Returns the key of an item; equal keys have equal values.
        value: Returns the value of an item; it is asked once for each key.

    Returns:
        The distinct ``values``, and for every parameter the index of its value as ``of``.

    >>> column(["a", "b", "a"], str, str.upper)
    {'values': ['A', 'B'], 'of': [0, 1, 0]}
    """
    keys = list(map(key, items))
    first = dict(zip(reversed(keys), reversed(items), strict=True))
    index = {found: place for place, found in enumerate(dict.fromkeys(keys))}
    return {"values": [value(first[found]) for found in index], "of": list(map(index.__getitem__, keys))}
