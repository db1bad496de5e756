"""The parameters of a plan as a tree of modules, with the setting of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optimbuild.report.interfaces import PlanView
from optimbuild.report.notation import shape_text
from optimbuild.report.option_columns import LEFT, option_columns
from optimbuild.report.table import INDENT, Line, Table

Branch = dict[str, "Branch | int"]
"""A module: its modules, and the positions of its parameters, by name."""
STEP = INDENT[:2]


def param_lines(plan: PlanView, width: int) -> list[Line]:
    """Return the heading, one line per module, and one row per parameter below its module."""
    decisions = list(plan)
    tree = list(_lines(_tree([decision.name for decision in decisions])))
    columns = option_columns(plan.groups, plan.groups)
    rows = [None if position is None else decisions[position] for _, position in tree]
    table = Table(
        {
            "group": ["" if d is None else "frozen" if d.group is None else str(d.group) for d in rows],
            **{
                k: ["" if d is None or d.group is None else cells[d.group] for d in rows]
                for k, cells in columns.items()
            },
            "shape": ["" if d is None else shape_text(d.param.shape) for d in rows],
        },
        left=LEFT,
    )
    names = [
        text if d is None else " = ".join([text, *d.param.aliases]) for (text, _), d in zip(tree, rows, strict=True)
    ]
    styles = ["bold" if d is None else "dim" if d.frozen else "" for d in rows]
    return table.lines("parameter", names, styles, width=width)


def _tree(names: Sequence[str]) -> Branch:
    """Return the tree of names; a name with an empty segment, and one that is a module too, stays whole."""
    root: Branch = {}
    for position, name in enumerate(names):
        branch, segments = root, name.split(".")
        for place, segment in enumerate(segments[:-1] if all(segments) else ()):
            inner = branch.setdefault(segment, {})
            if isinstance(inner, int):
                branch[".".join(segments[place:])] = position
                break
            branch = inner
        else:
            leaf = segments[-1] if all(segments) else name
            branch[leaf if leaf not in branch else f".{name}"] = position
    return root


def _lines(root: Branch) -> Iterator[tuple[str, int | None]]:
    """Yield the lines of a tree, indented, each with the position of its parameter; modules have none."""
    left = [(name, found, 0) for name, found in reversed(root.items())]
    while left:
        name, found, depth = left.pop()
        while isinstance(found, dict) and len(found) == 1 and isinstance(next(iter(found.values())), dict):
            ((inner, found),) = found.items()
            name = f"{name}.{inner}"
        yield STEP * depth + name, found if isinstance(found, int) else None
        if isinstance(found, dict):
            left += [(inner, below, depth + 1) for inner, below in reversed(found.items())]
