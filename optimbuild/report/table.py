"""Lines of text: labelled paragraphs, and tables whose last column is as wide as its cells."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len

from optimbuild.messages import printable

GAP = "  "
INDENT = "    "
"""The beginning of lines that go on with a row."""
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
    """Return paragraphs behind their labels, wrapped at spaces; a word that is wider than a line, behind its dots.

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
        for i, text in enumerate([piece for line in wrapped for piece in broken(line, room)]):
            lines.append((f"{_padded('' if i else printable(label), indent)}{text}".rstrip(), style))
    return lines


def broken(text: str, width: int) -> list[str]:
    """Return a text in pieces that are no wider than asked, broken behind dots, commas and slashes.

    What has none of them is not cut. Put together, the pieces are the text, so that names can be copied.

    >>> broken("blocks.{0..3}.norm1.weight", 14)
    ['blocks.{0..3}.', 'norm1.weight']
    """
    if cell_len(text) <= width:
        return [text]
    pieces = re.findall(r"(?:[^.,/]|\.\.)+(?:[./]|, ?)?|[.,/] ?", text) or [text]
    lines = [""]
    for piece in pieces:
        if lines[-1] and cell_len(lines[-1]) + cell_len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


@dataclass(frozen=True)
class Table:
    """Columns of short cells, followed by one column of long cells.

    Args:
        columns: The cells of each column, by its heading.
        left: The headings of columns that are aligned to the left; all others are aligned to the right.

    >>> table = Table({"group": ["0", "1"], "lr": ["0.1", "0.02"]})
    >>> table.room(40)
    27
    >>> print(text_of(table.lines("parameters", ["fc.weight", "fc.bias"], width=40)))
    group    lr  parameters
        0   0.1  fc.weight
        1  0.02  fc.bias
    """

    columns: Mapping[str, Sequence[str]]
    left: Sequence[str] = ()

    @cached_property
    def _widths(self) -> Mapping[str, int]:
        return {title: max(map(cell_len, [title, *map(printable, cells)])) for title, cells in self.columns.items()}

    def room(self, width: int) -> int:
        """Return how many characters are left for the last column."""
        return width - sum(column + len(GAP) for column in self._widths.values())

    def lines(self, title: str, last: Sequence[str], styles: Sequence[str] = (), *, width: int) -> list[Line]:
        """Return the heading and the rows. What does not fit beside the other cells is on the next lines, indented.

        Args:
            title: The heading of the last column.
            last: Its cells.
            styles: The style of each row.
            width: The width to fill, in characters. A word is never cut, so a line may be longer.
        """
        lines = [(line, "bold") for line in self._row([*self.columns, title], width)]
        rows = zip(*self.columns.values(), last, strict=True)
        for row, style in zip(rows, styles or [""] * len(last), strict=True):
            lines += [(line, style) for line in self._row(row, width)]
        return lines

    def _row(self, cells: Sequence[str], width: int) -> list[str]:
        """Return the lines of one row."""
        lines = [""]
        for (title, column), cell in zip(self._widths.items(), map(printable, cells), strict=False):
            space = " " * (column - cell_len(cell))
            padded = f"{cell}{space}" if title in self.left else f"{space}{cell}"
            if not lines[-1]:
                lines[-1] = padded
            elif cell_len(lines[-1]) + len(GAP) + column <= width:
                lines[-1] += GAP + padded
            else:
                lines.append(INDENT + padded)
        text = printable(cells[-1])
        if not lines[-1] or cell_len(lines[-1]) + len(GAP) + cell_len(text) <= width:
            lines[-1] += f"{GAP if lines[-1] else ''}{text}"
        else:
            lines += [INDENT + piece for piece in broken(text, width - len(INDENT))]
        return [line.rstrip() for line in lines]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
