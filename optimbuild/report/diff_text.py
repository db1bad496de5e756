"""A difference between two plans as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from optimbuild.messages import counted
from optimbuild.report.folded_changes import Change, folded_changes
from optimbuild.report.interfaces import ComparablePlan, DiffView
from optimbuild.report.name_patterns import Covered, NamePatterns
from optimbuild.report.notation import column_texts, plain_text
from optimbuild.report.table import INDENT, WIDTH, Line, Table, labelled, text_of

HEIGHT = 40
"""The number of lines that the folded view keeps to, if the model is regular."""

SAME = "(same)"
"""What stands for the parameters of the row above, whose optimizer changes with all of its options."""


def diff_text(
    before: ComparablePlan,
    after: ComparablePlan,
    titles: tuple[str, str] = ("", ""),
    *,
    folded: bool = True,
    width: int = WIDTH,
) -> str:
    """Return what differs between two plans.

    Args:
        before: A plan.
        after: Another one.
        titles: The names of the plans, such as those of their files.
        folded: Layers whose values differ by a factor share a row; else each distinct change has one.
        width: The width to fill, in characters. A word is never cut, so a line may be longer.

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
    return text_of(diff_lines(before, after, titles, folded=folded, width=width))


def diff_lines(
    before: ComparablePlan,
    after: ComparablePlan,
    titles: tuple[str, str] = ("", ""),
    *,
    folded: bool = True,
    width: int = WIDTH,
    unicode: bool = True,
) -> list[Line]:
    """Return the lines of :func:`diff_text`; without ``unicode`` their signs are in ASCII."""
    difference = before.diff(after)
    if not difference:
        return [(f"no difference: every parameter gets the same ({counted(len(before), 'tensor')})", "")]
    named = [
        ("before", f"{titles[0]} ({before.fingerprint[:12]})"),
        ("after", f"{titles[1]} ({after.fingerprint[:12]})"),
    ]
    names, changes = NamePatterns.of(before.inventory), _changes(difference)
    tables = [[("", ""), *lines] for lines in _tables(changes, names, folded, width)]
    fitting = next((lines for lines in tables if len(lines) <= HEIGHT), min(tables, key=len, default=[]))
    only = [
        ("only before", difference.removed),
        ("only after", difference.added),
        ("statistics kept only before", difference.released),
        ("statistics kept only after", difference.kept),
    ]
    rest = labelled([(label, name) for label, found in only for name in found], None)
    lines = [*labelled(named, None), *fitting, *rest]
    return lines if unicode else [(plain_text(text), style) for text, style in lines]


def _tables(changes: Sequence[Change], names: NamePatterns, folded: bool, width: int) -> Iterator[list[Line]]:
    """Yield the table in the ways in which it may be shown, the finest one first."""
    if not changes:
        return
    if not folded:
        yield _table([(change, change, names.covered(change.params)) for change in changes], width)
        return
    for whole in (False, True):
        rows = []
        for _, of_option in groupby(changes, key=lambda change: change.option):
            for first, last, row in folded_changes(list(of_option), names.families, whole):
                rows.append((first, last, row.covered(names.families)))
        yield _table(rows, width)


def _table(rows: Sequence[tuple[Change, Change, Covered]], width: int) -> list[Line]:
    """Return the heading and the rows, each of which goes from one change to another."""
    values = _ranges(rows)
    table = Table(
        {
            "option": [first.option for first, *_ in rows],
            "before": [before for before, _ in values],
            "after": [after for _, after in values],
            "tensors": [str(found.total) for *_, found in rows],
        },
        left=("option",),
    )
    room, own_line = table.room(width), width - len(INDENT)
    patterns = [found for *_, found in rows]
    texts = [text if len(text := found.text(room)) <= room else found.text(own_line) for found in patterns]
    for place, (above, found) in enumerate(pairwise(patterns), 1):
        if above.has_names_of(found):
            texts[place] = SAME
    return table.lines("parameters", texts, width=width)


def _ranges(rows: Sequence[tuple[Change, Change, Covered]]) -> list[tuple[str, str]]:
    """Return the values of each row before and after, those of one option in one notation."""
    cells = []
    for _, of_option in groupby(rows, key=lambda row: row[0].option):
        ends = [(first.before, last.before, first.after, last.after) for first, last, _ in of_option]
        texts = iter(column_texts([value for values in ends for value in values]))
        cells += [(_range(next(texts), next(texts)), _range(next(texts), next(texts))) for _ in ends]
    return cells


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} … {last}"


def _changes(difference: DiffView) -> list[Change]:
    """Return the distinct changes, option by option."""
    found: dict[str, dict[str, Change]] = {}
    for name, options in difference.changed.items():
        for option, (old, new) in options.items():
            change = found.setdefault(option, {}).setdefault(f"{old!r} {new!r}", Change(option, old, new, []))
            change.params.append(name)
    return [change for changes in found.values() for change in changes.values()]
