"""Patterns that cover exactly the parameters of a group, to show many names in few words."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from optimbuild.model.patterns import REGEX, Pattern


@dataclass(frozen=True)
class NamePatterns:
    """Finds patterns for sets of parameters of one model.

    The patterns are those of the rules, and each matches no other parameter, so that it can be copied into a config.

    Args:
        all: The names of all parameters of the model.

    >>> names = NamePatterns(("stem.weight", "blocks.0.bias", "blocks.0.weight", "blocks.1.bias", "blocks.1.weight"))
    >>> names.summary(["blocks.0.bias", "blocks.1.bias"])
    'blocks.*.bias'
    >>> names.summary(["stem.weight", "blocks.0.weight", "blocks.1.weight"], width=24)
    '**.weight'
    >>> names.summary(["stem.weight", "blocks.0.weight", "blocks.1.bias"], width=24)
    'stem.weight, +2 more'
    >>> names.summary(["blocks.0.bias", "blocks.1.weight"], width=20)
    'blocks.{2 of 4}'
    """

    all: tuple[str, ...]

    @cached_property
    def _patterns(self) -> dict[str, tuple[str, ...]]:
        return {name: _candidates(name) for name in self.all}

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(pattern for patterns in self._patterns.values() for pattern in patterns)

    def summary(self, names: Sequence[str], width: int = 60) -> str:
        """Return patterns that cover the names, as many as fit, and the number of names left.

        Args:
            names: Some of all names, at least one.
            width: The width to fill, in characters. No name is cut: where not even one pattern fits, the text is the
                common module and a count.
        """
        if len(names) == len(self.all):
            return "**"
        stem = _common_module(names) if len(names) > 1 else ""
        module = stem[:-1]
        if module and self._counts[module] == len(names):
            return self._widest(module)
        text, parts, left = "", [], len(names)
        for pattern, count in self.cover(names, stem):
            parts.append(pattern.removeprefix(stem))
            left -= count
            more = [f"+{left} more"] if left else []
            longer = ", ".join([*parts, *more])
            if stem and len(parts) + len(more) > 1:
                longer = f"{{{longer}}}"
            if len(stem + longer) > width and (text or stem):
                return text or f"{stem}{{{len(names)} of {self._counts[module]}}}"
            text = stem + longer
        return text

    def cover(self, names: Sequence[str], stem: str = "") -> Iterator[tuple[str, int]]:
        """Yield patterns with the number of names that each adds; each time the pattern that covers most of the rest.

        Args:
            names: Some of all names.
            stem: The beginning of every pattern.
        """
        covered: dict[str, list[str]] = {}
        for name in names:
            for pattern in self._patterns[name]:
                if pattern.startswith(stem):
                    covered.setdefault(pattern, []).append(name)
        pure = [
            pattern
            for pattern, found in covered.items()
            if len(found) == self._counts[pattern] and (len(found) > 1 or pattern == found[0])
        ]
        heap = [(*_rank(pattern, len(covered[pattern])), order, pattern) for order, pattern in enumerate(pure)]
        heapq.heapify(heap)
        ours, left = set(names), dict.fromkeys(names)
        while heap and left:
            *_, order, pattern = heapq.heappop(heap)
            new = [name for name in covered[pattern] if name in left]
            if not new or not self._is_exact(pattern, ours):
                continue
            entry = (*_rank(pattern, len(new)), order, pattern)
            if (
                heap and heap[0] < entry
            ):  # it covers fewer names than when it was ranked, and another pattern is now first
                heapq.heappush(heap, entry)
                continue
            for name in new:
                del left[name]
            yield pattern, len(new)
        yield from ((name, 1) for name in left)

    def _widest(self, module: str) -> str:
        """Return the outermost module that has the same parameters as this one."""
        while "." in module and self._counts[module.rpartition(".")[0]] == self._counts[module]:
            module = module.rpartition(".")[0]
        return module

    def _is_exact(self, pattern: str, ours: set[str]) -> bool:
        if not set(pattern) & set("*?{") and not pattern.startswith(REGEX):
            return True  # a module, whose parameters were counted
        try:
            found = Pattern(pattern)
        except ValueError:
            return False
        return not any(found.matches(name) for name in self.all if name not in ours)


def _rank(pattern: str, count: int) -> tuple[int, int, int]:
    """Return the sort key of patterns: most names first, then fewest stars, then fewest segments."""
    return (-count, pattern.count("*"), pattern.count("."))


def _common_module(names: Sequence[str]) -> str:
    """Return the innermost module that holds all names, with a dot at its end, or an empty string."""
    first, last = min(names).split("."), max(names).split(".")
    length = 0
    while length < min(len(first), len(last)) - 1 and first[length] == last[length]:
        length += 1
    return ".".join(first[:length]) + "." if length else ""


def _candidates(name: str) -> tuple[str, ...]:
    """Return patterns that match a name, the name itself included."""
    segments = name.split(".")
    numbered = [i for i, segment in enumerate(segments) if segment.isdigit()]
    found: dict[str, None] = {}
    for starred in ((), numbered, numbered[1:], numbered[-1:]):
        shape = ["*" if i in starred else segment for i, segment in enumerate(segments)]
        for length in range(1, len(segments) + 1):
            found[".".join(shape[:length])] = None
    for tail in range(1, len(segments)):
        if not segments[tail].isdigit():
            for length in (1, 2):
                end = ".".join(segments[tail : tail + length])
                for start in range(tail):
                    found[".".join([*segments[:start], "**", end])] = None
    return tuple(found)
