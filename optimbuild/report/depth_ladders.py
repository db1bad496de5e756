"""Learning rates over depth: which of them are steps of one ladder, such as × 0.9 per layer."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

Pair = tuple[float, float]


def step_ratios(neighbours: Collection[Pair], others: Iterable[float] = ()) -> list[float]:
    """Return the factors, at most 1, by which neighbours differ, the most common one first.

    Args:
        neighbours: Pairs of different learning rates of neighbouring layers, the lower one first; a factor that only
            one pair has is no step of a ladder.
        others: Learning rates beside those of numbered layers, which may go on with a ladder.

    >>> step_ratios({(0.5, 1.0), (0.25, 0.5), (0.1, 1.0)}), step_ratios({(0.5, 1.0)}, [0.5, 1.0, 2.0])
    ([0.5], [0.5])
    """
    found = Counter(map(_ratio, neighbours))
    more = Counter(map(_ratio, set(pairwise(sorted(others))) - set(neighbours)))
    return [ratio for ratio, count in found.most_common() if count + more[ratio] > 1]


@lru_cache(maxsize=4096)
def _ratio(pair: Pair) -> float:
    return float(f"{pair[0] / pair[1]:.9g}")


@lru_cache(maxsize=4096)
def rung_of(lr: float, ratio: float, other: float) -> float:
    """Return where a learning rate is between two steps of the ladder that another one is on, from 0 to 1.

    >>> rung_of(0.25, 0.5, 1.0), round(rung_of(0.3, 0.5, 1.0), 2)
    (0.0, 0.74)
    """
    return round(math.log(lr / other) / math.log(ratio) % 1, 5) % 1


def longest_monotone(values: Sequence[float]) -> set[int]:
    """Return the places of the longest subsequence that never falls, or never rises; of equals, one without repeats.

    >>> sorted(longest_monotone([1, 2, 0, 3, 3])), sorted(longest_monotone([1, 2, 3, 2, 4]))
    ([0, 1, 3, 4], [0, 1, 2, 4])
    """
    ordered = sorted(values)
    if ordered in (values, values[::-1]):  # nearly always
        return set(range(len(values)))
    negative = [-value for value in values]
    found: list[list[int]] = [
        _longest_rising(some, place) for place in (bisect_left, bisect_right) for some in (values, negative)
    ]
    longest = max(found, key=len)
    return set(longest)


def _longest_rising(values: Sequence[float], place_in: Callable[[list[float], float], int]) -> list[int]:
    """Return the places of the longest subsequence that rises, or never falls (patience sorting)."""
    ends: list[float] = []
    places: list[int] = []
    before: list[int] = []
    for place, value in enumerate(values):
        length = place_in(ends, value)
        before.append(places[length - 1] if length else -1)
        ends[length : length + 1] = [value]
        places[length : length + 1] = [place]
    found = []
    place = places[-1] if places else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


BARS = "▁▂▃▄▅▆▇█"
"""Eight heights."""


def bars(lrs: Sequence[float], limits: Pair, width: int = len(BARS)) -> str:
    """Return learning rates as bars on a log scale.

    Args:
        lrs: The learning rates, by depth, above 0.
        limits: The lowest and the highest one of all that are compared.
        width: How many bars there may be; of more rates some are left out, evenly.

    >>> bars([0.1, 1, 10], (0.01, 10)), bars([1e-3] * 30, (1e-3, 1e-3))
    ('▃▆█', '████████')
    """
    places = [round(i * (len(lrs) - 1) / (width - 1)) for i in range(width)] if len(lrs) > width else range(len(lrs))
    low, high = map(math.log, limits)
    top = len(BARS) - 1
    return "".join([BARS[round(top * (math.log(lrs[i]) - low) / (high - low)) if high > low else top] for i in places])
