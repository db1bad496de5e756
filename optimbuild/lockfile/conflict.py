"""Conflict markers, which git writes into a file that two branches changed."""

from __future__ import annotations

OURS, BASE, THEIRS, END = "<<<<<<< ", "||||||| ", "=======", ">>>>>>> "
MARKERS = (OURS, BASE, THEIRS, END)
"""How the lines begin."""


def marked_line(text: str) -> int:
    """Return the number of the first line with a conflict marker, from 1; 0 where there is none."""
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if line.startswith(MARKERS)), 0)


def sides(text: str) -> tuple[str, str]:
    r"""Return the two texts that git could not merge.

    Args:
        text: A text with conflict markers.

    >>> sides("a\n<<<<<<< HEAD\nb\n||||||| 1234567\nc\n=======\nd\n>>>>>>> branch\ne\n")
    ('a\nb\ne\n', 'a\nd\ne\n')
    """
    inside = END
    ours, theirs = "", ""
    for line in text.splitlines(keepends=True):
        marker = next(filter(line.startswith, MARKERS), None)
        if marker is not None:
            inside = marker
            continue
        ours += line * (inside in (OURS, END))
        theirs += line * (inside in (THEIRS, END))
    return ours, theirs
