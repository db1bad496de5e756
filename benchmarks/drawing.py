"""Results as plots: horizontal bars from zero on a linear scale, one panel per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Result, Row, by_case

OURS, OTHERS, TEXT = "#3b7de9", "#9aa2ae", "#7a828d"
"""Colours that read on a light and on a dark page, for the background is transparent."""
PANELS = 6
"""How many cases a plot holds; the others are only in the table."""
ROOM = 1.25
"""How far the axis goes beyond the longest bar, for the figure at its end."""


def draw(result: Result, folder: Path) -> Path:
    """Draw a result, and return the file that was written.

    Args:
        result: What a benchmark found.
        folder: Where the file goes.
    """
    path = folder / f"{result.name}.svg"
    _panels(by_case([row for row in result.rows if row.unit == "s"])[:PANELS], path)
    return path


def draw_speedup(ratios: Mapping[str, float], path: Path) -> None:
    """Draw how many times faster something is, one bar per case, with a line at 1.

    Args:
        ratios: The ratio of each case.
        path: The file to write.
    """
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(5.5, 0.3 * len(ratios) + 0.6))
    bars = axis.barh([*ratios], [*ratios.values()], color=OURS, height=0.6)
    axis.bar_label(bars, [f" {ratio:.1f} ×" for ratio in ratios.values()], padding=2)
    axis.set_title("times as fast as one group per tensor (dashed)", loc="left", fontsize=9)
    axis.axvline(1, color=TEXT, linewidth=1, linestyle="--")
    axis.set_xlim(0, ROOM * max(ratios.values()))
    _strip(axis)
    _save(figure, path)


def _panels(cases: Sequence[tuple[str, list[Row]]], path: Path) -> None:
    plt = _pyplot()
    heights = [len(rows) + 1 for _, rows in cases]
    figure, axes = plt.subplots(
        len(cases), 1, figsize=(7.5, 0.27 * sum(heights) + 0.3), height_ratios=heights, squeeze=False
    )
    for axis, (case, rows) in zip(axes[:, 0], cases, strict=True):
        medians, spreads = [row.median for row in rows], [row.spread / 2 for row in rows]
        bars = axis.barh([row.side for row in rows], medians, xerr=spreads, ecolor=TEXT, color=[*map(_colour, rows)])
        axis.bar_label(bars, [f" {row.text.partition(' ±')[0]}" for row in rows], padding=2)
        axis.set_title(case, loc="left", fontsize=9, fontweight="bold")
        axis.set_xlim(0, ROOM * max(map(sum, zip(medians, spreads, strict=True))))
        _strip(axis)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = dict.fromkeys(("text.color", "ytick.color", "axes.edgecolor", "axes.titlecolor"), TEXT)
    mpl.rcParams.update({"svg.hashsalt": "optimbuild", "svg.fonttype": "none", "font.size": 9} | colours)
    return plt


def _strip(axis: Any) -> None:
    """Put the first bar on top, and leave nothing of the frame but the line from which the bars start."""
    axis.invert_yaxis()
    axis.tick_params(length=0)
    axis.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None}, transparent=True)
    _pyplot().close(figure)


def _colour(row: Row) -> str:
    return OURS if row.side.startswith("optimbuild") or row.side == "auto" else OTHERS
