"""Globs over dotted names as regular expressions, in which ``*`` never crosses a dot.

Matching takes time in proportion to the length of the name times the length of the glob, whatever the glob.
"""

from __future__ import annotations

import re
from itertools import pairwise

from optimbuild.model.number_ranges import range_expression

WILDCARDS = frozenset("*?{}")
"""The characters that have a meaning in a glob."""
INDEX = "{n}"
EMPTY_SEGMENT = "a pattern has no empty segment: no dot at its ends and no two together"
MAX_ALTERNATIVES, MAX_EXPANDED = 100, 4000
"""The limits on the number of globs that the alternatives of one glob make, and on their characters together."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}", re.ASCII)
_LIMITS = re.compile(r"\{(\d+):(\d+)\}", re.ASCII)
"""A range without its dots, which are no ends of segments."""
_ELEMENTS = re.compile(r"(\{n\}|\{\d+:\d+\}|\?)", re.ASCII)
_COUNT = re.compile(r"\+\d+ (?:more|tensors?)", re.ASCII)
"""What a table prints for names that it leaves out."""


def glob_expression(text: str) -> str:
    """Return the regular expression of a glob. It matches the beginning of a name: the name or a module around it.

    Raises:
        ValueError: The glob is malformed.

    >>> bool(re.match(glob_expression("**.norm"), "blocks.0.norm.bias"))
    True
    """
    return rf"\A(?:{'|'.join(map(_expression, expanded(text)))})"


def expanded(text: str) -> list[str]:
    """Return the patterns that the alternatives of a pattern make, such as ``a.x`` and ``a.y`` of ``a.{x,y}``.

    One of them may be a range, as in ``blocks.{0,2..4}``.

    Raises:
        ValueError: A brace has no partner, an alternative is empty or is a count, or there are too many.
    """
    found = _first_alternatives(text)
    if found is None:
        return [text]
    start, end, alternatives = found
    patterns: list[str] = []
    for alternative in alternatives:
        if not alternative:
            raise ValueError(
                f"{text[start:end]} has an empty alternative: write what is between the commas, as in {{a,b}}"
            )
        if _COUNT.fullmatch(alternative):
            raise ValueError(
                f"{text[start:end]} leaves names out: write them, or a pattern, instead of {alternative!r}"
            )
        alone = f"{{{alternative}}}"
        meant = alone if _RANGE.fullmatch(alone) else alternative  # as in {0,2..4}
        patterns += expanded(text[:start] + meant + text[end:])
        if len(patterns) > MAX_ALTERNATIVES or sum(map(len, patterns)) > MAX_EXPANDED:
            raise ValueError(
                f"its alternatives make more than {MAX_ALTERNATIVES} patterns, or more than {MAX_EXPANDED} characters"
            )
    return patterns


def _first_alternatives(text: str) -> tuple[int, int, list[str]] | None:
    """Return the start and end of the first ``{x,y}`` of a pattern, and its alternatives, stripped of spaces."""
    opened: list[tuple[int, list[int]]] = []
    found = None
    for place, character in enumerate(text):
        if character == "{":
            opened.append((place, []))
        elif character == "," and opened:
            opened[-1][1].append(place)
        elif character == "}" and opened:
            start, commas = opened.pop()
            if commas and (found is None or start < found[0]):
                edges = [start, *commas, place]
                parts = [text[a + 1 : b].strip() for a, b in pairwise(edges)]
                found = start, place + 1, parts
        elif character == "}":
            raise ValueError("there is a `}` without a `{` before it")
    if opened:
        raise ValueError("there is a `{` without a `}` behind it")
    return found


def _expression(text: str) -> str:
    r"""Return the regular expression of a pattern without alternatives.

    Matching is linear, because no part of a name is tried in two ways. The text between two ``*`` of a segment takes
    the first place where it fits, and keeps it (an atomic group, ``(?>...)``): if the rest fits after a later place, it
    fits after the first one too. The same holds for the segments between two ``**``. What follows the last ``**`` takes
    the last place where it fits, so that ``{n}`` is the index of the innermost module.
    """
    if wrong := _LIMITS.search(text):
        raise ValueError(f"{wrong[0]} is no range: write {{{wrong[1]}..{wrong[2]}}}")
    segments = _RANGE.sub(r"{\1:\2}", text).split(".")
    if not all(segments):
        raise ValueError(EMPTY_SEGMENT)
    if any("**" in segment and segment != "**" for segment in segments):
        raise ValueError("`**` is a segment of its own, as in `**.norm`; inside a segment there is `*`")
    *above, last = segments
    runs: list[list[str]] = [[]]
    for segment in above:
        if segment != "**":
            runs[-1].append(_segment(segment))
        elif runs[-1] or len(runs) == 1:
            runs.append([])
    runs[-1].append("[^.]++" if last == "**" else _segment(last))
    end = r"\.".join(runs.pop()) + r"(?:\.|\Z)"
    dotted = ["".join(rf"{segment}\." for segment in run) for run in runs]
    if not dotted:
        return end
    first, *middle = dotted
    return "".join([first, *[rf"(?>(?:[^.]++\.)*?{run})" for run in middle], r"(?:[^.]++\.)*", end])


def _segment(segment: str) -> str:
    """Return the regular expression of one segment; it matches whole segments only."""
    first, *others = [_part(part) for part in segment.split("*")]
    if not others:
        return first
    *middle, last = others
    end = rf"[^.]*{last}(?=\.|\Z)" if last else "[^.]*+"
    return "".join(["(?>", first, *[f"(?>[^.]*?{part})" for part in middle], end, ")"])


def _part(text: str) -> str:
    """Return the regular expression of what is between two stars. A number always is a whole run of digits."""
    return "".join([_element(element) for element in _ELEMENTS.split(text) if element])


def _element(text: str) -> str:
    if text == "?":
        return "[^.]"
    if text == INDEX:
        return r"(?<!\d)(\d++)"
    limits = _LIMITS.fullmatch(text)
    if not limits:
        return re.escape(text)
    low, high = limits.groups()
    if not int(low) <= int(high) or len(high) > 9 or f"{int(low)}:{int(high)}" != f"{low}:{high}":
        raise ValueError(
            f"{{{low}..{high}}} is no range: two whole numbers, the lower one first, without leading zeros, "
            "of at most 9 digits"
        )
    return rf"(?<!\d)(?:{range_expression(int(low), int(high))})(?!\d)"
