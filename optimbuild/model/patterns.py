"""Name matching: globs over dotted names, in which a segment is never split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

from pydantic import AfterValidator

REGEX = "re:"
INDEX = "{n}"


@dataclass(frozen=True)
class Pattern:
    r"""A compiled pattern over fully qualified names.

    ``*`` and ``?`` stay inside a segment, ``**`` crosses segments, ``{n}`` is the index of a
    numbered module, and a pattern that names a module covers everything below it; ``**`` at the end is all that
    lies below. ``re:`` in front makes a regular expression, which is searched and not anchored.

    Raises:
        ValueError: The pattern is empty or not a regular expression.

    >>> Pattern("levels.1").matches("levels.1.norm.weight"), Pattern("levels.1").matches("levels.10.norm.weight")
    (True, False)
    >>> Pattern("**.norm").matches("norm.bias"), Pattern("*.norm").matches("a.b.norm.bias")
    (True, False)
    >>> Pattern(r"re:norm\d+$").matches("layers.0.norm12")
    True
    >>> Pattern("blocks.{n}").index("blocks.7.mlp.weight")
    (7,)
    """

    text: str

    def __post_init__(self) -> None:
        self.regex  # noqa: B018  # compiled now, so that a wrong one is refused where it is written

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern as a regular expression, to be searched."""
        return _compiled(self.text)

    def matches(self, name: str) -> bool:
        """Say whether the name, or a module that it is part of, matches."""
        return self.regex.search(name) is not None

    def index(self, name: str) -> tuple[int, ...] | None:
        """Return the numbers that stand for ``{n}`` in the name, or None where it does not match."""
        found = self.regex.search(name)
        return None if found is None else tuple(int(n) for n in found.groups() if n and n.isdecimal())


@lru_cache(maxsize=4096)
def _compiled(text: str) -> re.Pattern[str]:
    if text.startswith(REGEX) and len(text) > len(REGEX):
        try:
            return re.compile(text[len(REGEX) :])
        except (re.error, RecursionError, OverflowError, FutureWarning) as error:  # the last where warnings are errors
            raise ValueError(f"is not a regular expression: {error}") from None
    if not text or text == REGEX:
        raise ValueError("a pattern must not be empty")
    if text.startswith(".") or text.endswith(".") or ".." in text:
        raise ValueError("a pattern has no empty segment: no dot at its ends and no two together")
    segments = text.split(".")
    if any("**" in segment and segment != "**" for segment in segments):
        raise ValueError("`**` is a segment of its own, as in `**.norm`; inside a segment there is `*`")
    return re.compile(rf"\A{_segments(segments)}(?:\.|\Z)")


def _segments(segments: list[str]) -> str:
    """Return the expression; every segment but the last one ends with its dot, and ``**`` is any number of those."""
    *above, last = segments
    above = [segment for segment, before in zip(above, ["", *above], strict=False) if not segment == before == "**"]
    parts = [CROSSING if segment == "**" else _segment(segment) + r"\." for segment in above]
    return "".join([*parts, "[^.]+" if last == "**" else _segment(last)])


CROSSING = r"(?:[^.]+\.)*"


def _segment(segment: str) -> str:
    pieces = {"*": "[^.]*", "?": "[^.]", INDEX: r"(\d+)"}
    return "".join(pieces.get(p) or re.escape(p) for p in re.split(r"(\{n\}|\*|\?)", segment) if p)


def _is_pattern(text: str) -> str:
    Pattern(text)
    return text


PatternText = Annotated[str, AfterValidator(_is_pattern)]
"""The text of a pattern, refused where it does not compile."""


def widened(text: str) -> list[str]:
    """Return the wider patterns that somebody may have meant, narrowest first.

    >>> widened("*.bias")
    ['**.bias']
    >>> widened("norm")
    ['**.norm']
    """
    if text.startswith(REGEX):
        return []
    crossing = ".".join("**" if segment == "*" else segment for segment in text.split("."))
    wider = [crossing, crossing if crossing.startswith("**") else f"**.{crossing}"]
    return [w for w in dict.fromkeys(wider) if w != text]
