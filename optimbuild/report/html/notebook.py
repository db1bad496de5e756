"""A plan in a notebook: a table without a program, which every viewer of notebooks shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from optimbuild.messages import counted, printable
from optimbuild.report.interfaces import PlanView
from optimbuild.report.notation import count_text
from optimbuild.report.option_columns import columns_of_options

ROWS = 100
"""How many groups have a row; a cell's output stays small."""
NAMES = 20
"""How many names of a group's parameters are listed."""


def notebook_table(plan: PlanView) -> str:
    """Return a plan as HTML for the output of a notebook's cell: some kilobytes, without a program or a style sheet.

    Viewers of notebooks remove programs and style sheets that they do not trust, and a page per cell would make a
    notebook of many megabytes, so this is a plain table; names fold away. :meth:`Plan.to_html` gives the whole page.

    Args:
        plan: The plan.
    """
    model, total = plan.inventory, sum(param.numel for param in plan.inventory)
    heading = f"{model.model or 'model'}: {count_text(total)} parameters in {counted(len(plan), 'tensor')}"
    told = [f"<li><strong>Warning:</strong> {escape(printable(text))}</li>" for text in plan.warnings]
    told += [f"<li>{escape(printable(text))}</li>" for text in plan.notes]
    listed = f"<ul>{''.join(told)}</ul>" if told else ""
    return (
        f"<p><strong>{escape(heading)}</strong>, {counted(len(plan.groups), 'group')}, "
        f"fingerprint <code>{plan.fingerprint[:12]}</code></p>{listed}{group_table(plan)}"
    )


def group_table(plan: PlanView) -> str:
    """Return the groups of a plan, and what is frozen, as an HTML table."""
    columns = columns_of_options(plan.groups)
    several = len({group.optimizer for group in plan.groups}) > 1
    head = ["group", *["optimizer"] * several, *columns, "tensors", "elements", "parameters"]
    rows = [
        [
            group.name or str(i),
            *[group.optimizer] * several,
            *(texts[i] for texts in columns.values()),
            str(len(group.params)),
            count_text(group.numel),
        ]
        for i, group in enumerate(plan.groups[:ROWS])
    ]
    members: list[Sequence[str]] = [group.params for group in plan.groups[:ROWS]]
    if plan.frozen:
        numel = sum(plan.inventory[name].numel for name in plan.frozen)
        empty = [""] * (len(head) - 4)
        rows.append(["frozen", *empty, str(len(plan.frozen)), count_text(numel)])
        members.append(plan.frozen)
    heading = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(_row(cells, names) for cells, names in zip(rows, members, strict=True))
    left = len(plan.groups) - ROWS
    more = f"<p>{counted(left, 'group')} more</p>" if left > 0 else ""
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>{more}"


def _row(cells: Sequence[str], names: Sequence[str]) -> str:
    head, *rest = [escape(printable(cell)) for cell in cells]
    found = "".join(f"<td>{cell}</td>" for cell in rest)
    return f'<tr><th scope="row">{head}</th>{found}<td style="text-align: left">{_names(names)}</td></tr>'


def _names(names: Sequence[str]) -> str:
    """Return the first name; the others, as many as are listed, fold away below it."""
    if len(names) < 2:
        return "".join(f"<code>{escape(name)}</code>" for name in names)
    listed = "<br>".join(f"<code>{escape(name)}</code>" for name in names[1:NAMES])
    left = f"<br>and {len(names) - NAMES} more" if len(names) > NAMES else ""
    first = f"<code>{escape(names[0])}</code> and {counted(len(names) - 1, 'other')}"
    return f"<details><summary>{first}</summary>{listed}{left}</details>"
