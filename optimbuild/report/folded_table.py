"""A plan folded over depth, as a table that fits on a screen."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.report.depth_ladders import bars
from optimbuild.report.folding import Row, folded, lr_of
from optimbuild.report.interfaces import PlanView
from optimbuild.report.name_patterns import Covered, NamePatterns
from optimbuild.report.notation import column_texts, count_text, plain_text
from optimbuild.report.option_columns import LEFT, option_columns
from optimbuild.report.table import INDENT, Line, Table

WIDE = 110
"""From this width on each row says what its factor is for."""
BARS = "by depth"
"""The heading of the column of bars."""


def folded_lines(plan: PlanView, width: int, limit: int, unicode: bool) -> list[Line]:
    """Return the heading and the rows: the finest folding with the most of the names that keeps to a number of lines.

    Args:
        plan: The plan.
        width: The width to fill, in characters.
        limit: The number of lines to keep to; a plan without regularity takes more.
        unicode: Whether bars and other signs can be shown.
    """
    names = NamePatterns.of(plan.inventory)
    found: list[list[Line]] = []
    for whole in (False, True):
        table = _Folded(plan, names, folded(plan.groups, names.families, whole, plan.frozen), unicode)
        for roomy in (True, False):
            found.append(table.lines(width, roomy))
            if len(found[-1]) <= limit:
                return found[-1]
    return min(found, key=len)


class _Folded:
    """The rows of the folded view as a table.

    Args:
        plan: The plan.
        names: The patterns of its names.
        rows: Its rows.
        unicode: Whether bars and other signs can be shown.
    """

    def __init__(self, plan: PlanView, names: NamePatterns, rows: Sequence[Row], unicode: bool) -> None:
        self.plan, self.unicode = plan, unicode
        self.rows, self.frozen = [row for row in rows if row.groups], [row for row in rows if not row.groups]
        self.groups = [[plan.groups[index] for index in row.groups] for row in self.rows]
        self.all = [*self.rows, *self.frozen]
        self.covered = [row.covered(names.families) if row.positions else None for row in self.all]

    def lines(self, width: int, roomy: bool) -> list[Line]:
        """Return the heading and the rows.

        Args:
            width: The width to fill, in characters.
            roomy: Give names that do not fit beside the settings a line of their own, and elements a column.
        """
        table = Table(self._columns(width >= WIDE, roomy), left=(*LEFT, BARS))
        texts = [
            "none" if found is None else self._names(found, table.room(width), width - len(INDENT), roomy)
            for found in self.covered
        ]
        styles = [*[""] * len(self.rows), *["dim"] * len(self.frozen)]
        return table.lines("parameters", texts, styles, width=width)

    def _names(self, found: Covered, room: int, own_line: int, roomy: bool) -> str:
        text, longer = found.text(room), found.text(own_line)
        return longer if len(text) > room or roomy else text

    def _columns(self, wide: bool, roomy: bool) -> dict[str, list[str]]:
        """Return the cells of all columns but the last, by their headings."""
        options = option_columns(self.plan.groups, [groups[0] for groups in self.groups])
        if "name" in options:
            options["name"] = [" … ".join(dict.fromkeys([g[0].name, g[-1].name])) for g in self.groups]
        ladders = any(row.ratio for row in self.rows)
        titles = {"lr": "lr" if wide or not ladders else "lr (× per layer)", "weight_decay": "wd"}
        columns: dict[str, list[str]] = {}
        for key, cells in options.items():
            columns[titles.get(key, key)] = [*(self._lrs(wide) if key == "lr" else cells), *self._last("lr", key)]
            if key == "lr" and ladders and self.unicode:
                columns[BARS] = [*self._bars(), *self._last()]
        columns["tensors"] = [str(found.total) if found else "0" for found in self.covered]
        if roomy:
            columns["elements"] = [count_text(count) for count in self._elements()]
        if self.unicode:
            return columns
        return {plain_text(title): list(map(plain_text, cells)) for title, cells in columns.items()}

    def _last(self, title: str = "", key: str = "-") -> list[str]:
        """Return the cell of the row of what is frozen, if there is one."""
        return ["frozen" if title == key else ""] * len(self.frozen)

    def _lrs(self, wide: bool) -> list[str]:
        """Return the learning rates of the rows, from the first layer to the last one."""
        ends = [group.options.get("lr") for groups in self.groups for group in (groups[0], groups[-1])]
        texts = ["" if lr is None else text for lr, text in zip(ends, column_texts(ends, 2), strict=True)]
        lrs = [
            f"{first} … {last}" if row.ratio else first
            for row, first, last in zip(self.rows, texts[::2], texts[1::2], strict=True)
        ]
        ratio = "(× {:.4g} per layer)" if wide else "(× {:.4g})"
        factors = [ratio.format(row.ratio) if row.ratio else "" for row in self.rows]
        room = max(map(len, factors), default=0)
        return [f"{lr} {factor:{room}}" if room else lr for lr, factor in zip(lrs, factors, strict=True)]

    def _bars(self) -> list[str]:
        lrs = [[lr for group in groups if (lr := lr_of(group))] for groups in self.groups]
        limits = min(map(min, filter(None, lrs))), max(map(max, filter(None, lrs)))
        return [bars(found, limits) for found in lrs]

    def _elements(self) -> list[int]:
        sizes = self.plan.inventory.sizes
        return [sum(map(sizes.__getitem__, row.positions)) for row in self.all]
