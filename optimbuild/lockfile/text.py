"""A check as text for a terminal or the log of a job."""

from __future__ import annotations

from collections.abc import Iterator

from optimbuild.lockfile.outcome import Checked, Outcome
from optimbuild.report.table import WIDTH, Line, labelled

COLOURS = {"-": "red", "+": "green"}


def check_lines(checked: Checked, *, width: int = WIDTH) -> list[Line]:
    """Return a block for each target that has a problem, changes or is new, and how many are good.

    Args:
        checked: The outcomes.
        width: The width to fill, in characters.
    """
    lines = [line for outcome in checked.told for line in _block(outcome, width)]
    lines += [line for entry in checked.gone for line in [(f"{entry.target}", "bold"), ("  gone", ""), ("", "")]]
    return [*lines, (checked.total, "")]


def _block(outcome: Outcome, width: int) -> Iterator[Line]:
    yield str(outcome.target), "bold"
    yield from [(f"  {text}", style) for text, style in labelled(outcome.problems, width - 2)]
    if outcome.is_new:
        yield "  new: there is no entry to compare it with", ""
    yield from [(f"    {line}", COLOURS.get(line[0], "")) for line in outcome.changes]
    yield "", ""
