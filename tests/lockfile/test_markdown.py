"""A check as Markdown, whatever the names in it hold."""

from __future__ import annotations

from optimbuild.lockfile.entry import Entry
from optimbuild.lockfile.markdown import LONGEST, check_markdown
from optimbuild.lockfile.outcome import Checked, Outcome, Problem
from optimbuild.lockfile.target import Target


def outcome(config: str, before: list[str], after: list[str], *problems: Problem) -> Outcome:
    entries = [Entry(Target(config), {"": str(i) * 64}, tuple(lines)) for i, lines in enumerate((before, after))]
    return Outcome(Target(config), entries[1], problems, entries[0])


def test_a_block_of_code_ends_only_where_it_should() -> None:
    text = check_markdown(Checked((outcome("a`b.yaml", ["```"], ["````"], Problem("warning", "<b> `x` ``` *y*")),)))
    assert text.splitlines()[4:] == [
        "",
        "`` 'a`b.yaml' ``",
        "",
        "````text",
        "warning  <b> `x` ``` *y*",
        "````",
        "",
        "`````diff",
        "-```",
        "+````",
        "`````",
    ]


def test_many_plans_fit_into_one_comment() -> None:
    outcomes = [outcome(f"{i}.yaml", [], ["x" * 100] * 300) for i in range(20)]
    text = check_markdown(Checked(tuple(outcomes)))
    assert len(text) < LONGEST + 200
    assert "20 plans: 20 changed." in text
    assert text.count("… and 242 more lines\n```\n") == text.count("```diff") == 10
    assert text.endswith("There is no room for 10 more; the log of the job has all.\n")
