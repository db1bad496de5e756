"""Lines of text: labelled paragraphs, and tables whose last column is as wide as its cells."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from optimbuild.messages import printable

GAP = "  "
WIDTH = 100
"""The width of a report that does not go to a terminal, in characters."""

Line = tuple[str, str]
"""A line and its style: a style of rich, used where there are colors, or an empty string."""


def text_of(lines: Iterable[Line]) -> str:
    """Return lines without their styles."""
    return "\n".join([text for text, _ in lines])


def labelled(
    pairs: Sequence[tuple[str, str]], width: int | None, styles: Mapping[str, str] | None = None, indent: int = 0
) -> list[Line]:
    """Return paragraphs behind their labels, wrapped at spaces only, so that no name is cut.

    Args:
        pairs: Labels and paragraphs.
        width: The width to wrap at, in characters; None does not wrap.
        styles: The style of the lines of each label.
        indent: The column at which the paragraphs begin, if no label is longer.

    >>> print(text_of(labelled([("note", "one two three"), ("warning", "four")], 17)))
    note     one two
             three
    warning  four
    """
    indent = max(indent, *(cell_len(label) + len(GAP) for label, _ in pairs), 0)
    lines: list[Line] = []
    for label, paragraph in pairs:
        room = 10**9 if width is None else max(width - indent, 20)
        wrapped = textwrap.wrap(printable(paragraph), room, break_long_words=False, break_on_hyphens=False) or [""]
        style = (styles or {}).get(label, "")
        for i, text in enumerate(wrapped):
            lines.append((f"{_padded('' if i else printable(label), indent)}{text}".rstrip(), style))
    return lines


@dataclass(frozen=True)
class Table:
    """Columns of short cells, followed by one column of long cells.

    Args:
        columns: The cells of each column, by its heading.
        left: The headings of columns that are aligned to the left; all others are aligned to the right.

    >>> table = Table({"group": ["0", "1"], "lr": ["0.1", "0.02"]})
    >>> table.room(40)
    27
    >>> print(text_of(table.lines("parameters", ["fc.weight", "fc.bias"])))
    group    lr  parameters
        0   0.1  fc.weight
        1  0.02  fc.bias
    """

    columns: Mapping[str, Sequence[str]]
    left: Sequence[str] = ()

    def _widths(self) -> dict[str, int]:
        return {title: max(map(cell_len, [title, *map(printable, cells)])) for title, cells in self.columns.items()}

    def room(self, width: int) -> int:
        """Return how many characters are left for the last column."""
        return width - sum(column + len(GAP) for column in self._widths().values())

    def lines(self, title: str, last: Sequence[str], styles: Sequence[str] = ()) -> list[Line]:
        """Return the heading and the rows.

        Args:
            title: The heading of the last column.
            last: Its cells.
            styles: The style of each row.
        """
        widths = self._widths()
        rows = zip(*self.columns.values(), last, strict=True)
        head = self._row([*self.columns, title], widths)
        shown = [self._row(row, widths) for row in rows]
        return [(head, "bold"), *zip(shown, styles or [""] * len(shown), strict=True)]

    def _row(self, cells: Sequence[str], widths: Mapping[str, int]) -> str:
        padded = [
            _padded(cell, width) if title in self.left else f"{' ' * (width - cell_len(cell))}{cell}"
            for (title, width), cell in zip(widths.items(), map(printable, cells), strict=False)
        ]
        return GAP.join([*padded, printable(cells[-1])]).rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
