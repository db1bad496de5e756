"""Measuring several ways to do one thing: in turn and in one process, so that a drifting machine meets all alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any

import torch
from torch.utils.benchmark import Timer
from torch.utils.benchmark.utils.timer import timer as clock

from benchmarks.results import Row

SLOW = 0.5
"""Seconds from which one run makes a turn."""


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

    def more(self) -> Effort:
        """Return an effort with three times the rounds, for ratios that lie close together."""
        return replace(self, rounds=3 * self.rounds)

    def fewer(self, rounds: int, seconds: float | None = None) -> Effort:
        """Return an effort with no more than so many rounds, and turns of another length where that is given."""
        return replace(self, rounds=min(self.rounds, rounds), seconds=min(self.seconds, seconds or self.seconds))


FULL = Effort()
QUICK = Effort(rounds=2, seconds=0.001, quick=True)


def device() -> torch.device:
    """Return the device that tensors live on here: CUDA where there is one, else the CPU.

    The clock of :mod:`torch.utils.benchmark` waits for CUDA, before and after what it measures.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def in_turn(case: str, sides: Mapping[str, Callable[[], Any]], effort: Effort) -> list[Row]:
    """Measure every side, round after round; the first one is what ratios are held against.

    A ratio is the median of the ratios of the rounds, so that it holds where the absolute times drift. The order
    changes from round to round. Python's garbage collector is off while a side runs, as in :mod:`timeit`.

    Args:
        case: What is worked on.
        sides: What to run, by the name of the side.
        effort: How long.
    """
    gc.collect()
    gc.freeze()  # else each turn would first look at everything that was ever imported, and clear the caches by it
    try:
        runs = {side: _Run(run, effort.seconds) for side, run in sides.items()}
        for turn in range(effort.rounds):
            for run in reversed(runs.values()) if turn % 2 else runs.values():
                run.again(turn)
    finally:
        gc.unfreeze()
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
    name = against[0] if against else ""
    return Row(case, side, median(samples), high - low, len(samples), unit, ratio, name, dict(facts), min(samples))


class _Run:
    """One side: how to run it, how often in one turn, and what its turns took."""

    def __init__(self, run: Callable[[], Any], seconds: float) -> None:
        self.run = run
        self.timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        once = self.once()  # it warms up, and tells how long a run takes
        self.slow = once > SLOW
        self.number = max(1, int(seconds / once))
        self.times = [once] if self.slow else []

    def once(self) -> float:
        """Return the seconds that one run takes; the timer of torch would first run it twice, to warm up."""
        gc.collect()
        gc.disable()
        try:
            start = clock()
            self.run()
            return clock() - start
        finally:
            gc.enable()

    def again(self, turn: int) -> None:
        """Run for one more turn; what is slow had its first turn already."""
        if not self.slow:
            gc.collect()
            self.times.append(self.timer.timeit(self.number).median)
        elif turn > 0:
            self.times.append(self.once())
