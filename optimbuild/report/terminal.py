"""A plan, an explanation and a difference as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optimbuild.registry import RULES, optimizer_type
from optimbuild.report.figures import column, counted, human, option_text
from optimbuild.report.summary import Names
from optimbuild.report.table import Line, Table, labelled, text_of

if TYPE_CHECKING:
    from optimbuild.diff import PlanDiff
    from optimbuild.plan import Plan

WIDTH = 100
"""The width of a report that does not go to a terminal."""
ALWAYS = ("lr", "weight_decay")
"""The options that have a column even where all groups share them."""
INDENT = 13
"""Where the text behind the labels of a plan begins."""
STYLES = {"warning": "yellow", "note": "dim", "fingerprint": "dim"}


def plan_text(plan: Plan, params: bool = False, *, width: int = WIDTH, warnings: bool = True) -> str:
    """Return a plan as text: its heading, one row a group, notes and warnings.

    Args:
        plan: The plan.
        params: Give one row a parameter instead of one a group.
        width: The width to fill, in characters. A name is never cut, so a line may be longer.
        warnings: Give the plan's warnings as well.

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


def plan_lines(plan: Plan, params: bool = False, *, width: int = WIDTH, warnings: bool = True) -> list[Line]:
    """Return the lines of :func:`plan_text`."""
    notes = [("note", note) for note in plan.notes]
    told = [("warning", warning) for warning in plan.warnings] if warnings else []
    rows = _rows_of_params(plan) if params else _rows_of_groups(plan, width)
    end = labelled([*notes, *told, ("fingerprint", plan.fingerprint[:12])], width, STYLES, INDENT)
    return [*_heading(plan, width), ("", ""), *rows, ("", ""), *end]


def _heading(plan: Plan, width: int) -> list[Line]:
    params, frozen = plan.inventory.params, set(plan.frozen)
    total = sum(param.numel for param in params)
    still = sum(param.numel for param in params if param.name in frozen)
    shared, _ = _options(plan)
    kinds = list(dict.fromkeys(group.optimizer for group in plan.groups))
    kernels = list(dict.fromkeys(group.implementation for group in plan.groups))
    head = ", ".join([*kinds, *kernels, counted(len(plan.groups), "group")])
    pairs = [
        ("model", f"{plan.inventory.model or 'unnamed'}: {human(total)} parameters in {counted(len(plan), 'tensor')}"),
        *[("frozen", f"{human(still)} parameters in {counted(len(frozen), 'tensor')}")] * bool(frozen),
        ("optimizer", f"{head}; {_said(kinds[0], shared)}" if shared else head),
        *[("zero", "the optimizer state is sharded")] * (plan.spec.zero is not False),
    ]
    return labelled(pairs, width, {"model": "bold", "optimizer": "bold"}, INDENT)


def _options(plan: Plan) -> tuple[dict[str, Any], list[str]]:
    """Return the options that all groups share, and the names of those that get a column."""
    known = dict.fromkeys(key for group in plan.groups for key in group.options)
    first = plan.groups[0].options
    shared = {
        key: first[key]
        for key in known
        if key not in ALWAYS
        and all(key in g.options and repr(g.options[key]) == repr(first.get(key)) for g in plan.groups)
    }
    return shared, [*ALWAYS, *(key for key in known if key not in shared and key not in ALWAYS)]


def _columns(plan: Plan) -> dict[str, list[str]]:
    """Return, by its heading, the cells of every option that has a column, for each group."""
    groups = plan.groups
    columns = {}
    if len({group.optimizer for group in groups}) > 1:
        columns["optimizer"] = [group.optimizer for group in groups]
    for key in _options(plan)[1]:
        with_it = [group for group in groups if key in group.options]
        cells = iter(column([group.options[key] for group in with_it]))
        columns[key] = [next(cells) if key in group.options else "" for group in groups]
    if len({group.implementation for group in groups}) > 1:
        columns["implementation"] = [group.implementation for group in groups]
    return columns


def _rows_of_groups(plan: Plan, width: int) -> list[Line]:
    frozen, last = plan.frozen, [""] * bool(plan.frozen)
    still = sum(plan.inventory[name].numel for name in frozen)
    table = Table(
        {
            "group": [*map(str, range(len(plan.groups))), *["frozen"] * len(last)],
            **{key: [*cells, *last] for key, cells in _columns(plan).items()},
            "tensors": [*(str(len(group.params)) for group in plan.groups), *[str(len(frozen))] * len(last)],
            "elements": [*(human(group.numel) for group in plan.groups), *[human(still)] * len(last)],
        },
        left=("optimizer", "implementation"),
    )
    names, room = Names(tuple([param.name for param in plan.inventory.params])), table.room(width)
    members = [*(group.params for group in plan.groups), *[frozen] * len(last)]
    styles = [*[""] * len(plan.groups), *["dim"] * len(last)]
    return table.lines("parameters", [names.summary(found, room) for found in members], styles)


def _rows_of_params(plan: Plan) -> list[Line]:
    decisions = list(plan)
    columns = _columns(plan)
    table = Table(
        {
            "group": ["frozen" if d.group is None else str(d.group) for d in decisions],
            **{key: ["" if d.group is None else cells[d.group] for d in decisions] for key, cells in columns.items()},
            "shape": [_shape(d.param.shape) for d in decisions],
        },
        left=("optimizer", "implementation", "shape"),
    )
    names = [" = ".join(d.param.names) for d in decisions]
    return table.lines("parameter", names, ["dim" if d.frozen else "" for d in decisions])


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def explain_text(plan: Plan, name: str) -> str:
    """Return every step that led to a parameter's setting, and where each rule stands.

    Args:
        plan: The plan.
        name: The parameter's name, or an alias.

    Raises:
        ModelError: No parameter has this name.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01},
    ...                   "rules": [{"type": "no_decay"}]}, model)
    >>> print(explain_text(plan, "fc.bias"))
    fc.bias
      shape     4, float32
      start     sgd: lr 0.1, momentum 0.9, dampening 0.0, weight_decay 0.01, nesterov true
      no_decay  weight_decay 0.01 → 0.0
                why: bias
                rule 1 of 1, .../rules/no_decay.py:...
      end       sgd: lr 0.1, momentum 0.9, dampening 0.0, weight_decay 0.0, nesterov true
                group 1 of 2
    """
    return text_of(explain_lines(plan, name))


def explain_lines(plan: Plan, name: str) -> list[Line]:
    """Return the lines of :func:`explain_text`."""
    from optimbuild.plan import base_options

    decision, steps = plan[name], plan.explain(name)
    param = decision.param
    kind, base = base_options(plan.spec)(None)
    pairs = [
        ("shape", ", ".join([_shape(param.shape), param.dtype, *[f"owned by {param.owner}"] * bool(param.owner)])),
        *[("kinds", ", ".join(sorted(param.kinds)))] * bool(param.kinds),
        *[("aliases", ", ".join(param.aliases))] * bool(param.aliases),
        ("start", _setting(kind.name, base if param.trainable else None)),
    ]
    for step in steps:
        changes = [f"{key} {option_text(step.before.get(key))} → {option_text(v)}" for key, v in step.after.items()]
        pairs.append((step.rule, ", ".join(changes)))
        pairs.append(("", f"why: {step.why or 'the rule does not say'}"))
        pairs.append(("", f"rule {step.position + 1} of {len(plan.rules)}, {RULES.origin(step.rule)}"))
    pairs.append(("end", _setting(decision.optimizer, decision.options)))
    if decision.group is not None:
        pairs.append(("", f"group {decision.group} of {len(plan.groups)}"))
    return [(param.name, "bold"), *((f"  {text}", style) for text, style in labelled(pairs, None))]


def _setting(optimizer: str | None, options: Mapping[str, Any] | None) -> str:
    if options is None:
        return "frozen"
    return f"{optimizer}: {_said(str(optimizer), options)}"


def _said(optimizer: str, options: Mapping[str, Any]) -> str:
    """Return options in words, without switches that are off, unless the optimizer fixes them."""
    fixed = optimizer_type(optimizer).fixed
    said = {key: value for key, value in options.items() if value is not False or key in fixed}
    return ", ".join(f"{key} {option_text(value)}{' (fixed)' * (key in fixed)}" for key, value in said.items())


def diff_text(before: Plan, after: Plan, titles: tuple[str, str] = ("", ""), *, width: int = WIDTH) -> str:
    """Return what differs between two plans, one row for each distinct change.

    Args:
        before: A plan.
        after: Another one.
        titles: What to call them, such as the names of their files.
        width: The width to fill, in characters. A name is never cut, so a line may be longer.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> slow, fast = [make_plan({"optimizer": {"type": "sgd", "lr": lr}}, model) for lr in (0.1, 0.2)]
    >>> print(diff_text(slow, fast, ("slow.yaml", "fast.yaml")))
    before  slow.yaml (...)
    after   fast.yaml (...)
    <BLANKLINE>
    option  before  after  tensors  parameters
    lr         0.1    0.2        2  **
    """
    return text_of(diff_lines(before, after, titles, width=width))


def diff_lines(before: Plan, after: Plan, titles: tuple[str, str] = ("", ""), *, width: int = WIDTH) -> list[Line]:
    """Return the lines of :func:`diff_text`."""
    difference = before.diff(after)
    if not difference:
        return [(f"no difference: every parameter gets the same ({counted(len(before), 'tensor')})", "")]
    named = [
        ("before", f"{titles[0]} ({before.fingerprint[:12]})"),
        ("after", f"{titles[1]} ({after.fingerprint[:12]})"),
    ]
    changes = _changes(difference)
    lines = labelled(named, None)
    if changes:
        table = Table(
            {
                "option": [option for option, *_ in changes],
                "before": [old for _, old, _, _ in changes],
                "after": [new for *_, new, _ in changes],
                "tensors": [str(len(found)) for *_, found in changes],
            },
            left=("option",),
        )
        names, room = Names(tuple([decision.name for decision in before])), table.room(width)
        lines += [("", ""), *table.lines("parameters", [names.summary(found, room) for *_, found in changes])]
    only = [("only before", difference.removed), ("only after", difference.added)]
    return [*lines, *labelled([(label, name) for label, found in only for name in found], None)]


def _changes(difference: PlanDiff) -> list[tuple[str, str, str, list[str]]]:
    """Return the distinct changes: the option, its values as text, and the parameters."""
    by_option: dict[str, dict[str, tuple[Any, Any, list[str]]]] = {}
    for name, options in difference.changed.items():
        for option, (old, new) in options.items():
            found = by_option.setdefault(option, {}).setdefault(f"{old!r} {new!r}", (old, new, []))
            found[-1].append(name)
    rows = []
    for option, changes in by_option.items():
        texts = column([value for old, new, _ in changes.values() for value in (old, new)])
        rows += [
            (option, old, new, found)
            for old, new, (*_, found) in zip(texts[::2], texts[1::2], changes.values(), strict=True)
        ]
    return rows
