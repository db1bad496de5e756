"""Notation: counts, shapes and option values as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def count_text(count: int) -> str:
    """Return a count in three digits and a unit.

    >>> count_text(768), count_text(29_040), count_text(29_900_000), count_text(5_540_000_000)
    ('768', '29.0k', '29.9M', '5.54B')
    """
    if count < 1000:
        return str(count)
    value, unit = float(count), ""
    for unit in "kMBT":  # noqa: B007  # read after the loop
        value /= 1000
        if value < 999.5:
            break
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}{unit}"


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape.

    >>> shape_text((64, 3, 7, 7)), shape_text(())
    ('64×3×7×7', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"


def option_text(value: Any) -> str:
    """Return the value of an option exactly, as YAML writes it.

    >>> option_text((0.9, 0.999)), option_text(None), option_text(True), option_text(0.0)
    ('[0.9, 0.999]', 'null', 'true', '0.0')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {option_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(option_text, value)) + "]"
    return value if isinstance(value, str) else repr(value)


SHORT = 6
"""The number of characters up to which a number is written as it is."""


def number_text(number: float) -> str:
    """Return a number as people write it, with at most four digits that count.

    >>> [number_text(number) for number in (0.00013348388671875, 2e-05, 0.0005, 0.0, 3, 0.8099999999999999)]
    ['1.335e-04', '2e-05', '0.0005', '0', '3', '0.81']
    """
    if len(repr(float(number))) <= SHORT and number:
        return f"{number:g}"
    if number == 0 or 1e-3 <= abs(number) < 1e6:
        return f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}"
    mantissa, exponent = f"{number:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


PLAIN = str.maketrans({"…": "..", "×": "x", "→": ">", "≥": ">="})


def plain_text(text: str) -> str:
    """Return a text with the signs of our notation in ASCII.

    >>> plain_text("64×3"), plain_text("1e-05 … 1e-03")
    ('64x3', '1e-05 .. 1e-03')
    """
    return text.translate(PLAIN)


def column_texts(values: Sequence[Any], digits: int = 3) -> list[str]:
    """Return the values of one option, in one notation, short but never ambiguous.

    Numbers that differ read differently. Where the short forms are not exact, all numbers get
    the same scientific notation.

    Args:
        values: The values.
        digits: How many digits are enough where they tell the numbers apart.

    >>> column_texts([0.001, 0.05, 0.0]), column_texts([0.0001, 0.00002])
    (['0.001', '0.05', '0'], ['1e-04', '2e-05'])
    >>> column_texts([0.001, 0.0006123457, 0.0])
    ['1.00e-03', '6.12e-04', '0']
    >>> column_texts([0.00061231, 0.00061232])
    ['6.1231e-04', '6.1232e-04']
    """
    numbers = {v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)}
    texts = _decimal(numbers) or _scientific(numbers, digits)
    return [texts[v] if v in numbers and not isinstance(v, bool) else option_text(v) for v in values]


def _decimal(numbers: set[float]) -> dict[float, str]:
    texts = {number: f"{number:.5g}" for number in numbers}
    exact = all(float(text) == number for number, text in texts.items())
    notations = {"e" in text for number, text in texts.items() if number}
    return texts if exact and len(notations) < 2 and all(len(text) <= 7 for text in texts.values()) else {}


def _scientific(numbers: set[float], enough: int) -> dict[float, str]:
    texts: dict[float, str] = {}
    for digits in range(17):
        texts = {number: f"{number:.{digits}e}" if number else "0" for number in numbers}
        exact = all(float(text) == number for number, text in texts.items())
        if exact or (digits + 1 >= enough and len(set(texts.values())) == len(numbers)):
            break
    return texts
