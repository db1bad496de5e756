"""A plan as text: its heading, a table in one of three views, notes and warnings."""

from __future__ import annotations

from optimbuild.errors import OptimBuildError
from optimbuild.messages import counted, listing, shown, suggest
from optimbuild.report.folded_table import folded_lines
from optimbuild.report.groups_table import group_lines
from optimbuild.report.interfaces import PlanView
from optimbuild.report.notation import count_text, plain_text
from optimbuild.report.option_columns import by_optimizer, optimizer_text
from optimbuild.report.params_tree import param_lines
from optimbuild.report.table import WIDTH, Line, labelled, text_of

VIEWS = ("folded", "groups", "params")
"""What a table has a row for: parameters of equal structure over depth, each group, each parameter."""
HEIGHT = 40
"""The number of lines that the folded view of a plan keeps to."""
INDENT = 13
"""The column at which the text behind the labels begins."""
STYLES = {"warning": "yellow", "note": "dim", "fingerprint": "dim"}


def plan_text(
    plan: PlanView, params: bool = False, *, view: str = "folded", width: int = WIDTH, warnings: bool = True
) -> str:
    """Return a plan as text: its heading, a table, notes and warnings.

    Args:
        plan: The plan.
        params: The same as the view ``params``.
        view: ``folded`` has one row for parameters whose settings differ by a factor per layer, ``groups`` one row per
            group, ``params`` one per parameter, in a tree of modules.
        width: The width to fill, in characters. A word is never cut, so a line may be longer.
        warnings: Include the plan's warnings.

    Raises:
        OptimBuildError: There is no such view.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> names = ["embed", *[f"blocks.{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")], "head.weight"]
    >>> model = Inventory([ParamInfo(name, (4, 4) if "weight" in name else (4,)) for name in names], model="Tiny")
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01},
    ...                   "rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}]}, model)
    >>> print(plan_text(plan))
    model        Tiny: 100 parameters in 10 tensors
    optimizer    sgd, fused, 10 groups; momentum 0.9, dampening 0.0, nesterov true
    <BLANKLINE>
             lr (× per layer)  by depth    wd  tensors  elements  parameters
              3.1e-03          ▁            0        1         4  embed
    6.3e-03 … 5.0e-02 (× 0.5)  ▂▄▅▇      0.01        4        64  blocks.{0..3}.weight
    6.3e-03 … 5.0e-02 (× 0.5)  ▂▄▅▇         0        4        16  blocks.{0..3}.bias
              1.0e-01          █         0.01        1        16  head.weight
    <BLANKLINE>
    note         layer_decay: depths from names: 6 layers around blocks.{n}; the first is embed; the
                 last is head.weight
    fingerprint  ...
    """
    if view not in VIEWS:
        raise OptimBuildError(f"there is no view {shown(view)}.{suggest(view, VIEWS)} There are: {listing(VIEWS)}")
    return text_of(plan_lines(plan, "params" if params else view, width=width, warnings=warnings))


def plan_lines(
    plan: PlanView, view: str = "folded", *, width: int = WIDTH, warnings: bool = True, unicode: bool = True
) -> list[Line]:
    """Return the lines of :func:`plan_text`.

    Args:
        plan: The plan.
        view: One of the views.
        width: The width to fill, in characters.
        warnings: Include the plan's warnings.
        unicode: Whether all characters can be shown; else numbers and signs are in ASCII.
    """
    heading, end = _heading(plan, width), _end(plan, width, warnings)
    if view == "folded":
        rows = folded_lines(plan, width, HEIGHT - len(heading) - len(end) - 2, unicode)
    else:
        rows = (param_lines if view == "params" else group_lines)(plan, width)
    lines = [*heading, ("", ""), *rows, ("", ""), *end]
    return lines if unicode else [(plain_text(text), style) for text, style in lines]


def _end(plan: PlanView, width: int, warnings: bool) -> list[Line]:
    notes = [("note", note) for note in plan.notes]
    told = [("warning", warning) for warning in plan.warnings] if warnings else []
    return labelled([*notes, *told, ("fingerprint", plan.fingerprint[:12])], width, STYLES, INDENT)


def _heading(plan: PlanView, width: int) -> list[Line]:
    inventory, frozen, kept = plan.inventory, plan.frozen, plan.kept_statistics
    total = sum(inventory.sizes)
    frozen_total = sum(map(inventory.sizes.__getitem__, inventory.positions(frozen)))
    pairs = [
        (
            "model",
            f"{inventory.model or 'unnamed'}: {count_text(total)} parameters in {counted(len(plan), 'tensor')}",
        ),
        *[("frozen", f"{count_text(frozen_total)} parameters in {counted(len(frozen), 'tensor')}")] * bool(frozen),
        *[("kept", f"running statistics of {counted(len(kept), 'module')}: {listing(kept, 5)}")] * bool(kept),
        *[("optimizer", optimizer_text(name, groups)) for name, groups in by_optimizer(plan.groups).items()],
        *[("zero", "the optimizer state is sharded")] * (plan.spec.zero is not False),
    ]
    return labelled(pairs, width, {"model": "bold", "optimizer": "bold"}, INDENT)
