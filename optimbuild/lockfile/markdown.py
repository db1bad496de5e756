"""A check as the Markdown of a comment on a pull request."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from optimbuild.lockfile.outcome import Checked, Outcome
from optimbuild.messages import counted
from optimbuild.report.table import labelled, text_of
from optimbuild.written_files import refuse_other_file, write_file

START = "<!-- optimbuild check: "
SOMETHING, NOTHING = f"{START}something to tell -->", f"{START}nothing to tell -->"
"""The first line, which says whether a comment is worth while; it is not shown."""
LONGEST = 60_000
"""The room for all, in characters: GitHub takes 65,536 in a comment."""
LONGEST_BLOCK = 6_000
"""The room for one block of lines, so that one plan does not leave nothing for others."""


def check_markdown(checked: Checked) -> str:
    """Return the outcomes as Markdown, with what differs from another lock file, and all problems.

    Args:
        checked: The outcomes.
    """
    sections = [*map(_section, checked.told), *_gone(checked)]
    text = f"{SOMETHING if sections else NOTHING}\n### Plans\n\n{_total(checked)}\n"
    for place, section in enumerate(sections):
        if len(text) + len(section) > LONGEST:
            return f"{text}\nThere is no room for {len(sections) - place} more; the log of the job has all.\n"
        text += section
    return text


def write_markdown(path: str, checked: Checked) -> None:
    """Write the outcomes as Markdown; an existing file is replaced only if this wrote it.

    Args:
        path: The file.
        checked: The outcomes.

    Raises:
        OptimBuildError: The file cannot be written, or is another one.
    """
    refuse_other_file(path, "result of a check", _is_result)
    write_file(path, check_markdown(checked).encode())


def _is_result(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(START)) == START.encode()


def _total(checked: Checked) -> str:
    counts = {
        "changed": sum([bool(outcome.changes) for outcome in checked.outcomes]),
        "new": sum([outcome.is_new for outcome in checked.outcomes]),
        "gone": len(checked.gone),
        "with a problem": len(checked.wrong),
    }
    told = ", ".join([f"{count} {what}" for what, count in counts.items() if count])
    return f"{counted(len(checked.outcomes), 'plan')}: {told or 'no change, no problem'}."


def _section(outcome: Outcome) -> str:
    new = f", new: `{outcome.planned.short}`" if outcome.planned is not None and outcome.is_new else ""
    problems = text_of(labelled(outcome.problems, None)).splitlines()
    return f"\n{_code(str(outcome.target))}{new}\n" + "".join(
        [_fenced(kind, lines) for kind, lines in (("text", problems), ("diff", outcome.changes)) if lines]
    )


def _gone(checked: Checked) -> Iterator[str]:
    for entry in checked.gone:
        yield f"\n{_code(str(entry.target))}: gone\n"


def _code(text: str) -> str:
    """Return a text as code within a line, whatever it holds."""
    ticks = "`" * (_longest_run(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"{ticks}{text}{ticks}"


def _fenced(kind: str, lines: Sequence[str]) -> str:
    """Return lines as a block of code, whatever they hold."""
    ends = list(accumulate(len(line) + 1 for line in lines))
    fitting = lines[: bisect_right(ends, LONGEST_BLOCK)]
    left = len(lines) - len(fitting)
    shown = "\n".join([*fitting, *[f"… and {counted(left, 'more line')}"] * bool(left)])
    fence = "`" * max(3, _longest_run(shown) + 1)
    return f"\n{fence}{kind}\n{shown}\n{fence}\n"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
