"""Columns: one value per parameter, stored once per distinct value."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any


def column(values: Iterable[tuple[Hashable, Any]]) -> dict[str, list[Any]]:
    """Return a column as JSON data.

    Args:
        values: For every parameter a key, and the value, which is the same for the same key.

    Returns:
        The distinct ``values``, and for every parameter the index of its value as ``of``.

    >>> column([("a", [1]), ("b", [2]), ("a", [1])])
    {'values': [[1], [2]], 'of': [0, 1, 0]}
    """
    index: dict[Hashable, int] = {}
    found: list[Any] = []
    of: list[int] = []
    for key, value in values:
        place = index.setdefault(key, len(found))
        if place == len(found):
            found.append(value)
        of.append(place)
    return {"values": found, "of": of}
