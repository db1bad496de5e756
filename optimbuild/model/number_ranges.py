"""Ranges of whole numbers as regular expressions."""

from __future__ import annotations


def range_expression(low: int, high: int) -> str:
    """Return a regular expression of the whole numbers from ``low`` to ``high``, without leading zeros.

    Args:
        low: The lowest number, at least 0.
        high: The highest number, at least ``low``.

    >>> range_expression(0, 10)
    '[0-9]|10'
    >>> range_expression(8, 123)
    '[8-9]|[1-9][0-9]|1[0-1][0-9]|12[0-3]'
    """
    parts = []
    while low <= high:
        top = _end_of_block(low, high)
        parts.append(_block_expression(str(low), str(top)))
        low = top + 1
    return "|".join(parts)


def _end_of_block(low: int, high: int) -> int:
    """Return the end of the longest block of numbers from ``low`` that one expression covers, such as ``1[2-9][0-9]``.

    In a block the last digits take all values, and the digit before them takes a range of values.
    """
    size = 1
    while low and low % (10 * size) == 0 and low + 10 * size - 1 <= high:
        size *= 10
    digit = low // size % 10
    more = min(9 - digit, (high - low + 1) // size - 1)
    return low + (more + 1) * size - 1


def _block_expression(low: str, top: str) -> str:
    return "".join(a if a == b else f"[{a}-{b}]" for a, b in zip(low, top, strict=True))
