"""Measuring several ways to do one thing: in turn and in one process, so that a drifting machine meets all alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import torch
from torch.utils.benchmark import Timer

from benchmarks.results import Row


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: How often every side has its turn.
        seconds: How long one turn lasts at least, however short one run is.
        quick: Whether sizes shall be small too: to see that a benchmark works, and not what it finds.
    """

    rounds: int = 9
    seconds: float = 0.1
    quick: bool = False

    def fewer(self, rounds: int) -> Effort:
        """Return the same effort with no more than so many rounds, for what takes seconds."""
        return Effort(min(self.rounds, rounds), self.seconds, self.quick)


FULL = Effort()
QUICK = Effort(rounds=2, seconds=0.001, quick=True)


def device() -> torch.device:
    """Return the device that tensors live on here: CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait until the device has done all that it was told; :class:`torch.utils.benchmark.Timer` waits by itself."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turn(case: str, sides: Mapping[str, Callable[[], Any]], effort: Effort) -> list[Row]:
    """Measure every side, round after round; the first one is what ratios are held against.

    A ratio is the median of the ratios of the rounds, so that it holds where the absolute times drift. The order
    changes from round to round. Python's garbage collector is off while a side runs, as in :mod:`timeit`.

    Args:
        case: What is worked on.
        sides: What to run, by the name of the side.
        effort: How long.
    """
    runs = {side: _Run(run, effort.seconds) for side, run in sides.items()}
    for turn in range(effort.rounds):
        for run in reversed(runs.values()) if turn % 2 else runs.values():
            run.again()
    against, first = next(iter(runs.items()))
    return [
        row_of(case, side, run.times, (against, first.times) if side != against else None) for side, run in runs.items()
    ]


def row_of(
    case: str,
    side: str,
    samples: list[float],
    against: tuple[str, list[float]] | None = None,
    unit: str = "s",
    **facts: Any,
) -> Row:
    """Return the row of some samples.

    Args:
        case: What was worked on.
        side: Who did the work.
        samples: One figure a round.
        against: Another side and its samples, of the same rounds.
        unit: What they are counted in.
        facts: What else is worth a column.
    """
    low, _, high = quantiles(samples, n=4) if len(samples) > 1 else (samples[0],) * 3
    ratio = median([ours / theirs for ours, theirs in zip(samples, against[1], strict=True)]) if against else None
    return Row(
        case, side, median(samples), high - low, len(samples), unit, ratio, against[0] if against else "", dict(facts)
    )


class _Run:
    """One side: how to run it, how often in one turn, and what its turns took."""

    def __init__(self, run: Callable[[], Any], seconds: float) -> None:
        self.timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        self.number = max(1, int(seconds / self.timer.timeit(1).median))  # it warms up by itself
        self.times: list[float] = []

    def again(self) -> None:
        gc.collect()
        self.times.append(self.timer.timeit(self.number).median)
