"""The groups of a plan as a table: one row per group."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.report.interfaces import PlanView
from optimbuild.report.name_patterns import NamePatterns
from optimbuild.report.notation import count_text
from optimbuild.report.option_columns import LEFT, option_columns
from optimbuild.report.table import INDENT, Line, Table


def group_lines(plan: PlanView, width: int) -> list[Line]:
    """Return the heading, one row per group, and one for what is frozen."""
    groups, frozen = plan.groups, plan.frozen
    last = [""] * bool(frozen)
    frozen_total = sum(plan.inventory[name].numel for name in frozen)
    table = Table(
        {
            "group": [*map(str, range(len(groups))), *["frozen"] * len(last)],
            **{key: [*cells, *last] for key, cells in option_columns(groups, groups).items()},
            "tensors": [*(str(len(group.params)) for group in groups), *[str(len(frozen))] * len(last)],
            "elements": [*(count_text(group.numel) for group in groups), *[count_text(frozen_total)] * len(last)],
        },
        left=LEFT,
    )
    names, room = NamePatterns.of(plan.inventory), table.room(width)
    members = [*(group.params for group in groups), *[frozen] * len(last)]
    texts = [_shown(names, found, room, width - len(INDENT)) if found else "none" for found in members]
    return table.lines("parameters", texts, [*[""] * len(groups), *["dim"] * len(last)], width=width)


def _shown(names: NamePatterns, found: Sequence[str], room: int, own_line: int) -> str:
    """Return the patterns that fit beside the other cells, or, where not even one does, on a line of their own."""
    covered = names.covered(found)
    text = covered.text(room)
    return text if len(text) <= room else covered.text(own_line)
