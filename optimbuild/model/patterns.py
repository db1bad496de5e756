"""Patterns over dotted names: globs, and regular expressions with ``re:`` in front."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Annotated

from pydantic import AfterValidator

from optimbuild.messages import printable
from optimbuild.model.globs import EMPTY_SEGMENT, WILDCARDS, glob_expression

REGEX = "re:"
MAX_LENGTH = 1000
"""The limit on the length of a pattern, in characters; that of a name is the same."""


@dataclass(frozen=True)
class Pattern:
    r"""A compiled pattern over fully qualified names.

    ``*`` and ``?`` stay inside a segment, ``**`` crosses segments, ``{n}`` is the index of a numbered module,
    ``{0..10}`` is a whole number in a range, and ``{bias,norm.weight}`` is any of several patterns. A pattern that
    names a module covers everything below it; ``**`` at the end is all that lies below. ``re:`` in front makes a
    regular expression, which is searched and not anchored.

    Raises:
        ValueError: The pattern is empty, malformed or not a regular expression.

    >>> Pattern("levels.1").matches("levels.1.norm.weight"), Pattern("levels.1").matches("levels.10.norm.weight")
    (True, False)
    >>> Pattern("**.norm").matches("norm.bias"), Pattern("*.norm").matches("a.b.norm.bias")
    (True, False)
    >>> Pattern("blocks.{0..11}.{mlp,norm*}").matches("blocks.7.norm1.bias")
    True
    >>> Pattern(r"re:norm\d+$").matches("layers.0.norm12")
    True
    >>> Pattern("blocks.{n}").index("blocks.7.mlp.weight")
    (7,)
    """

    text: str

    def __post_init__(self) -> None:
        if is_wildcard(self.text):
            self.regex  # noqa: B018  # compiled now, so that a wrong pattern is refused where it is written
        else:
            _refuse_malformed(self.text)

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern as a regular expression, to be searched."""
        return _compiled(self.text)

    @cached_property
    def search(self) -> Callable[[str], object]:
        """A function of a name whose result is true where the name matches. It is the fastest way for many names."""
        if self.text.startswith(REGEX):
            return self.regex.search
        if is_wildcard(self.text):
            return self.regex.match  # an expression of a glob begins at the beginning of the name
        return partial(_is_in, self.text, f"{self.text}.")

    def matches(self, name: str) -> bool:
        """Say whether the name, or a module that it is part of, matches."""
        return bool(self.search(name))

    def index(self, name: str) -> tuple[int, ...] | None:
        """Return the numbers that ``{n}`` matches in the name, or None where the name does not match."""
        found = self.regex.search(name)
        return None if found is None else tuple(int(n) for n in found.groups() if n and n.isdecimal())


def _is_in(module: str, start: str, name: str) -> bool:
    return name.startswith(start) or name == module


@lru_cache(maxsize=4096)
def _compiled(text: str) -> re.Pattern[str]:
    if text.startswith(REGEX) and len(text) > len(REGEX):
        try:
            return re.compile(text[len(REGEX) :])
        except (re.error, RecursionError, OverflowError, FutureWarning) as error:  # the last where warnings are errors
            raise ValueError(f"is not a regular expression: {error}") from None
    _refuse_malformed(text)
    try:
        return re.compile(glob_expression(text))
    except ValueError as error:
        raise ValueError(f"{error}{_regex_hint(text)}") from None


def _refuse_malformed(text: str) -> None:
    if not text or text == REGEX:
        raise ValueError("a pattern must not be empty")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters, not {len(text)}")
    if not is_wildcard(text) and (text[0] == "." or text[-1] == "." or ".." in text):
        raise ValueError(f"{EMPTY_SEGMENT}{_regex_hint(text)}")


def _regex_hint(text: str) -> str:
    """Return a hint where the author may have meant a regular expression."""
    if not looks_like_regex(text):
        return ""
    return f". A regular expression has `re:` in front: '{printable(REGEX + text)}'"


def looks_like_regex(text: str) -> bool:
    r"""Say whether a pattern without ``re:`` looks like a regular expression, and is one.

    >>> looks_like_regex(r"blocks\.\d+"), looks_like_regex("blocks.*.norm")
    (True, False)
    """
    if text.startswith(REGEX) or not re.search(r"[\\^$|()\[\]+]|\.\*|\.\?", re.sub(r"\.\*\*?(?=\.|$)", "", text)):
        return False
    try:
        _compiled(REGEX + text)
    except ValueError:
        return False
    return True


def is_wildcard(text: str) -> bool:
    """Say whether a text, as a pattern, is more than a name."""
    return text.startswith(REGEX) or not WILDCARDS.isdisjoint(text)


def _is_pattern(text: str) -> str:
    Pattern(text)
    return text


PatternText = Annotated[str, AfterValidator(_is_pattern)]
"""The text of a pattern; one that does not compile is refused."""


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
