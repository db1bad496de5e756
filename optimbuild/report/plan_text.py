"""A plan as text: its heading, one row per group or parameter, notes and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.messages import counted, listing
from optimbuild.registry import find_optimizer
from optimbuild.report.interfaces import GroupView, PlanView
from optimbuild.report.name_patterns import NamePatterns
from optimbuild.report.notation import column_texts, count_text, option_text, shape_text
from optimbuild.report.table import WIDTH, Line, Table, labelled, text_of

ALWAYS = ("lr", "weight_decay")
"""The options that have a column even where all groups share them."""
INDENT = 13
"""The column at which the text behind the labels begins."""
STYLES = {"warning": "yellow", "note": "dim", "fingerprint": "dim"}


def plan_text(plan: PlanView, params: bool = False, *, width: int = WIDTH, warnings: bool = True) -> str:
    """Return a plan as text: its heading, one row per group, notes and warnings.

    Args:
        plan: The plan.
        params: Give one row per parameter instead of one per group.
        width: The width to fill, in characters. A name is never cut, so a line may be longer.
        warnings: Include the plan's warnings.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))), model="Tiny")
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01},
    ...                   "rules": [{"type": "no_decay"}]}, model)
    >>> print(plan_text(plan))
    model        Tiny: 20 parameters in 2 tensors
    optimizer    sgd, fused, 2 groups; momentum 0.9, dampening 0.0, nesterov true
    <BLANKLINE>
    group   lr  weight_decay  tensors  elements  parameters
        0  0.1          0.01        1        16  fc.weight
        1  0.1             0        1         4  fc.bias
    <BLANKLINE>
    fingerprint  ...
    """
    return text_of(plan_lines(plan, params, width=width, warnings=warnings))


def plan_lines(plan: PlanView, params: bool = False, *, width: int = WIDTH, warnings: bool = True) -> list[Line]:
    """Return the lines of :func:`plan_text`."""
    notes = [("note", note) for note in plan.notes]
    told = [("warning", warning) for warning in plan.warnings] if warnings else []
    rows = _rows_of_params(plan) if params else _rows_of_groups(plan, width)
    end = labelled([*notes, *told, ("fingerprint", plan.fingerprint[:12])], width, STYLES, INDENT)
    return [*_heading(plan, width), ("", ""), *rows, ("", ""), *end]


def _heading(plan: PlanView, width: int) -> list[Line]:
    params, frozen = plan.inventory.params, set(plan.frozen)
    total = sum(param.numel for param in params)
    frozen_total = sum(param.numel for param in params if param.name in frozen)
    kept = plan.kept_statistics
    pairs = [
        (
            "model",
            f"{plan.inventory.model or 'unnamed'}: {count_text(total)} parameters in {counted(len(plan), 'tensor')}",
        ),
        *[("frozen", f"{count_text(frozen_total)} parameters in {counted(len(frozen), 'tensor')}")] * bool(frozen),
        *[("kept", f"running statistics of {counted(len(kept), 'module')}: {listing(kept, 5)}")] * bool(kept),
        *[("optimizer", _optimizer_text(name, groups)) for name, groups in _by_optimizer(plan).items()],
        *[("zero", "the optimizer state is sharded")] * (plan.spec.zero is not False),
    ]
    return labelled(pairs, width, {"model": "bold", "optimizer": "bold"}, INDENT)


def _by_optimizer(plan: PlanView) -> dict[str, list[GroupView]]:
    """Return the groups of each optimizer."""
    found: dict[str, list[GroupView]] = {}
    for group in plan.groups:
        found.setdefault(group.optimizer, []).append(group)
    return found


def _optimizer_text(name: str, groups: Sequence[GroupView]) -> str:
    kernels = dict.fromkeys(group.implementation for group in groups)
    head, shared = ", ".join([name, *kernels, counted(len(groups), "group")]), _shared(groups)
    return f"{head}; {_options_text(name, shared)}" if shared else head


def _shared(groups: Sequence[GroupView]) -> dict[str, Any]:
    """Return the options that all groups of an optimizer share, without those that always have a column."""
    first = groups[0].options
    return {
        key: value
        for key, value in first.items()
        if key not in ALWAYS and all(key in g.options and repr(g.options[key]) == repr(value) for g in groups)
    }


def _columns(plan: PlanView) -> dict[str, list[str]]:
    """Return the columns of options by their headings, with one cell per group."""
    groups, by_optimizer = plan.groups, _by_optimizer(plan)
    shared = {name: _shared(its_groups) for name, its_groups in by_optimizer.items()}
    varying = {key: None for group in groups for key in group.options if key not in shared[group.optimizer]}
    columns = {"name": [group.name for group in groups]} if any(group.name for group in groups) else {}
    if len(by_optimizer) > 1:
        columns["optimizer"] = [group.optimizer for group in groups]
    for key in dict.fromkeys([*ALWAYS, *varying]):
        with_it = [key in group.options and key not in shared[group.optimizer] for group in groups]
        cells = iter(column_texts([g.options[key] for g, has_it in zip(groups, with_it, strict=True) if has_it]))
        columns[key] = [next(cells) if has_it else "" for has_it in with_it]
    if any(len({group.implementation for group in its_groups}) > 1 for its_groups in by_optimizer.values()):
        columns["implementation"] = [group.implementation for group in groups]
    return columns


def _rows_of_groups(plan: PlanView, width: int) -> list[Line]:
    frozen, last = plan.frozen, [""] * bool(plan.frozen)
    frozen_total = sum(plan.inventory[name].numel for name in frozen)
    table = Table(
        {
            "group": [*map(str, range(len(plan.groups))), *["frozen"] * len(last)],
            **{key: [*cells, *last] for key, cells in _columns(plan).items()},
            "tensors": [*(str(len(group.params)) for group in plan.groups), *[str(len(frozen))] * len(last)],
            "elements": [*(count_text(group.numel) for group in plan.groups), *[count_text(frozen_total)] * len(last)],
        },
        left=("name", "optimizer", "implementation"),
    )
    names, room = NamePatterns(tuple([param.name for param in plan.inventory.params])), table.room(width)
    members = [*(group.params for group in plan.groups), *[frozen] * len(last)]
    styles = [*[""] * len(plan.groups), *["dim"] * len(last)]
    return table.lines("parameters", [names.summary(found, room) if found else "none" for found in members], styles)


def _rows_of_params(plan: PlanView) -> list[Line]:
    decisions = list(plan)
    columns = _columns(plan)
    table = Table(
        {
            "group": ["frozen" if d.group is None else str(d.group) for d in decisions],
            **{key: ["" if d.group is None else cells[d.group] for d in decisions] for key, cells in columns.items()},
            "shape": [shape_text(d.param.shape) for d in decisions],
        },
        left=("name", "optimizer", "implementation", "shape"),
    )
    names = [" = ".join(d.param.names) for d in decisions]
    return table.lines("parameter", names, ["dim" if d.frozen else "" for d in decisions])


def setting_text(optimizer: str | None, options: Mapping[str, Any] | None) -> str:
    """Return what a parameter gets: its optimizer and options, or ``frozen``."""
    if options is None:
        return "frozen"
    return f"{optimizer}: {_options_text(str(optimizer), options)}"


def _options_text(optimizer: str, options: Mapping[str, Any]) -> str:
    """Return options as text; a switch that is off is left out unless the optimizer fixes it."""
    fixed = find_optimizer(optimizer).fixed
    mentioned = {key: value for key, value in options.items() if value is not False or key in fixed}
    return ", ".join(f"{key} {option_text(value)}{' (fixed)' * (key in fixed)}" for key, value in mentioned.items())
