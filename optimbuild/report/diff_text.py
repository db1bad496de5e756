"""A difference between two plans as text."""

from __future__ import annotations

from typing import Any

from optimbuild.messages import counted
from optimbuild.report.interfaces import ComparablePlan, DiffView
from optimbuild.report.name_patterns import NamePatterns
from optimbuild.report.notation import column_texts
from optimbuild.report.table import WIDTH, Line, Table, labelled, text_of


def diff_text(
    before: ComparablePlan, after: ComparablePlan, titles: tuple[str, str] = ("", ""), *, width: int = WIDTH
) -> str:
    """Return what differs between two plans, one row for each distinct change.

    Args:
        before: A plan.
        after: Another one.
        titles: The names of the plans, such as those of their files.
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


def diff_lines(
    before: ComparablePlan, after: ComparablePlan, titles: tuple[str, str] = ("", ""), *, width: int = WIDTH
) -> list[Line]:
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
        names, room = NamePatterns.of(before.inventory.params), table.room(width)
        lines += [
            ("", ""),
            *table.lines("parameters", [names.summary(found, room) for *_, found in changes], width=width),
        ]
    only = [
        ("only before", difference.removed),
        ("only after", difference.added),
        ("statistics kept only before", difference.released),
        ("statistics kept only after", difference.kept),
    ]
    return [*lines, *labelled([(label, name) for label, found in only for name in found], None)]


def _changes(difference: DiffView) -> list[tuple[str, str, str, list[str]]]:
    """Return the distinct changes: the option, its values as text, and the parameters."""
    by_option: dict[str, dict[str, tuple[Any, Any, list[str]]]] = {}
    for name, options in difference.changed.items():
        for option, (old, new) in options.items():
            found = by_option.setdefault(option, {}).setdefault(f"{old!r} {new!r}", (old, new, []))
            found[-1].append(name)
    rows = []
    for option, changes in by_option.items():
        texts = column_texts([value for old, new, _ in changes.values() for value in (old, new)])
        rows += [
            (option, old, new, found)
            for old, new, (*_, found) in zip(texts[::2], texts[1::2], changes.values(), strict=True)
        ]
    return rows
