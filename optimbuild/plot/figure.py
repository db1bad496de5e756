"""The picture: panels of LR and weight decay over depth, and of the LR over steps, drawn by matplotlib."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimbuild.errors import OptimBuildError
from optimbuild.messages import counted, printable, shown, suggest
from optimbuild.plan.plan import Plan
from optimbuild.plot.marks import KINDS, OTHER, Mark, marks_of, ticks_of
from optimbuild.plot.schedules import Schedule
from optimbuild.written_files import refuse_other_file, write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = "drawn by optimbuild"
"""What is written into each file, by which we know that it may be replaced."""
METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Creator": DRAWN, "Date": None},
    "png": {"Software": DRAWN},
    "pdf": {"Creator": DRAWN, "Producer": None, "CreationDate": None},
}
"""By format what is written beside the picture: no date, so that equal plans give equal files."""
COLOURS = ("#D55E00", "#0072B2", "#CC79A7", "#009E73", "#56B4E9", "#E69F00", "#333333", "#767676")
SHAPES = ("v", "o", "P", "^", "D", "s", "X", "*")
STYLES = {kind: (colour, shape) for kind, colour, shape in zip((*KINDS, OTHER), COLOURS, SHAPES, strict=True)}
"""The colour of each kind, from the palette of Okabe and Ito, and its shape, so that nobody needs the colour."""
FILLED = ("full", "none", "left", "right")
"""How the marks of the first, second, … optimizer are filled."""
FROZEN = "#767676"
SETTINGS: Mapping[Any, Any] = {
    "svg.hashsalt": "optimbuild",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SPREAD = 0.6
"""How much of the place of a block its kinds fill, one beside the other."""
LINES = (("#0072B2", "-"), ("#009E73", "--"), ("#D55E00", "-."))
"""The colours and dashes of the LRs over steps."""
LONGEST = 40
"""How many characters of a block's name are written."""


def save_plot(plan: Plan, path: str | os.PathLike[str], schedule: Schedule | None = None) -> None:
    """Draw the LR and the weight decay of a plan over the depth of its model into a file.

    Args:
        plan: The plan.
        path: The file, ``*.svg``, ``*.png`` or ``*.pdf``. An existing one is replaced only if this function wrote it.
        schedule: A schedule, whose LR over the steps is drawn as well.

    Raises:
        OptimBuildError: Another format, or a file that cannot be written or must not be replaced.

    >>> import tempfile
    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, Inventory((ParamInfo("fc.weight", (4, 4)),)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_plot(plan, f"{folder}/lr.svg")
    """
    file = os.fspath(path)
    form = format_of(file)
    refuse_other_file(file, "plot of optimbuild", is_plot)
    curves = None if schedule is None else schedule.curves(plan)
    picture = io.BytesIO()
    with _matplotlib(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in any script; a viewer of SVG has its own fonts
        _figure(plan, curves).savefig(picture, format=form, metadata=METADATA[form], dpi=150)
    write_file(file, picture.getvalue())


def format_of(path: str) -> str:
    """Return the format that the name of a file says.

    >>> format_of("lr.SVG")
    'svg'
    """
    suffix = os.path.splitext(path)[1].removeprefix(".").lower()
    if suffix not in METADATA:
        raise OptimBuildError(
            f"the name of a plot says its format, and {shown(path)} is none of *.svg, *.png and *.pdf."
            f"{suggest(suffix, METADATA) if suffix else ''}"
        )
    return suffix


def is_plot(path: str) -> bool:
    """Say whether a file is a plot of ours."""
    return DRAWN.encode() in Path(path).read_bytes()


def _matplotlib() -> Any:
    """Return a context with matplotlib's own settings and ours, whatever the user's are."""
    import matplotlib as mpl

    return mpl.rc_context({**mpl.rcParamsDefault, **SETTINGS})


def _figure(plan: Plan, curves: Mapping[str, Sequence[float]] | None) -> Figure:
    from matplotlib.figure import Figure

    blocks, marks = marks_of(plan)
    frozen = any(mark.optimizer is None for mark in marks)
    heights = [3.0, 1.8, *[0.35] * frozen, *[2.2] * (curves is not None)]
    figure = Figure(figsize=(max(7.5, min(0.12 * len(blocks), 16)), sum(heights) + 1.6), layout="constrained")
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0].tolist()
    over_depth = axes[: 2 + frozen]
    for axis, option in zip(over_depth, ("lr", "weight_decay"), strict=False):
        _draw_marks(axis, plan, marks, option)
    if frozen:
        _draw_frozen(axes[2], marks)
    _label_depth(over_depth, blocks)
    if curves is not None:
        _draw_curves(axes[-1], curves)
    axes[0].set_title("\n".join(map(printable, _title(plan))), loc="left", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _title(plan: Plan) -> list[str]:
    """Return the lines above the plot."""
    optimizers = " and ".join(dict.fromkeys([group.optimizer for group in plan.groups]))
    model = plan.inventory.model or "unnamed model"
    return [f"{model[:LONGEST]}: {optimizers}", f"{counted(len(plan.groups), 'group')}, plan {plan.fingerprint[:12]}"]


def _draw_marks(axis: Axes, plan: Plan, marks: Sequence[Mark], option: str) -> None:
    """Draw one option over depth, a series for each kind and optimizer."""
    optimizers = list(dict.fromkeys([group.optimizer for group in plan.groups]))
    trained = [mark for mark in marks if mark.optimizer is not None]
    kinds = [kind for kind in STYLES if any(mark.kind == kind for mark in trained)]
    for kind, optimizer, found in _series(marks, optimizers):
        values = [getattr(mark, option) for mark in found]
        beside = SPREAD * ((kinds.index(kind) + 0.5) / len(kinds) - 0.5)
        points = [(mark.block + beside, value) for mark, value in zip(found, values, strict=True) if value is not None]
        colour, shape = STYLES[kind]
        label = kind if len(optimizers) == 1 else f"{kind}, {optimizer}"
        fill: Any = FILLED[optimizers.index(optimizer) % len(FILLED)]
        axis.plot(*_columns(points), shape, color=colour, fillstyle=fill, markersize=5, label=printable(label))
    if option == "lr":
        _scale_lr(axis, [mark.lr for mark in marks if mark.lr is not None])
    else:
        has_some = any(mark.weight_decay is not None for mark in trained)
        axis.set_ylabel("weight decay" if has_some else "no weight decay")
        axis.margins(y=0.15)


def _series(marks: Sequence[Mark], optimizers: Sequence[str]) -> Iterator[tuple[str, str, list[Mark]]]:
    """Yield the marks of each kind and optimizer that has some."""
    for optimizer in optimizers:
        for kind in STYLES:
            found = [mark for mark in marks if (mark.kind, mark.optimizer) == (kind, optimizer)]
            if found:
                yield kind, optimizer, found


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _scale_lr(axis: Axes, lrs: Sequence[float]) -> None:
    """Make the axis of LRs logarithmic, with a linear part where some LR is 0."""
    from matplotlib.ticker import LogFormatter

    positive = [lr for lr in lrs if lr > 0]
    if not positive:
        axis.set_ylabel("learning rate" if lrs else "no learning rate")
        return
    lowest, highest = min(positive), max(positive)
    if len(positive) < len(lrs):
        axis.set_yscale("symlog", linthresh=lowest)
        axis.set_ylabel(f"learning rate (log; linear below {lowest:.3g})")
        axis.yaxis.set_major_formatter(LogFormatter(linthresh=lowest))
        return
    axis.set_yscale("log")
    axis.set_ylabel("learning rate (log)")
    axis.set_ylim(lowest / 1.5, highest * 1.5)
    axis.yaxis.set_major_formatter(LogFormatter())  # the default one writes formulas, and our texts are none
    axis.yaxis.set_minor_formatter(LogFormatter())


def _draw_frozen(axis: Axes, marks: Sequence[Mark]) -> None:
    """Draw a strip with a mark at each block that has frozen parameters."""
    frozen = sorted({mark.block for mark in marks if mark.optimizer is None})
    axis.plot(frozen, [0] * len(frozen), "|", color=FROZEN, markersize=8, markeredgewidth=1.5)
    axis.set_yticks([0], ["frozen"])
    axis.set_ylim(-1, 1)


def _label_depth(axes: Sequence[Axes], blocks: Sequence[str]) -> None:
    """Share the axis of depth, and write names of blocks below the last panel."""
    for axis in axes[:-1]:
        axis.sharex(axes[-1])
        axis.tick_params(labelbottom=False)
    ticks = ticks_of(blocks)
    names = [name if len(name) <= LONGEST else f"…{name[-LONGEST:]}" for name in map(printable, blocks)]
    axes[-1].set_xticks(ticks, [names[i] for i in ticks], rotation=40, ha="right", rotation_mode="anchor")
    axes[-1].set_xlim(-0.7, len(blocks) - 0.3)
    axes[-1].set_xlabel("depth: modules in the order of the model's parameters")


def _draw_curves(axis: Axes, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw the LR over the steps of a schedule."""
    for (label, lrs), (colour, line) in zip(curves.items(), LINES, strict=False):
        axis.plot(range(len(lrs)), lrs, line, color=colour, label=printable(label), linewidth=1.4)
    _scale_lr(axis, [lr for lrs in curves.values() for lr in lrs])
    axis.autoscale(axis="y")
    axis.set_xlabel("step")
    axis.legend(frameon=False)
