"""Mistakes in how a command was written: one message each, with what would be right."""

from __future__ import annotations

import pytest

from optimbuild.cli import main

PLAN = ("plan", "own.yaml", "-m", "model.json")
MISTAKES = [
    (("plane",), "no such command 'plane'. Did you mean 'plan'"),
    (
        (*PLAN, "--prams"),
        "optimbuild plan has no option '--prams'. Did you mean '--params'? See `optimbuild plan --help`.",
    ),
    ((*PLAN, "-q"), "optimbuild plan has no option '-q'. See `optimbuild plan --help`."),
    (("--tracebac", *PLAN), "optimbuild has no option '--tracebac'. Did you mean '--traceback'?"),
    ((*PLAN, "--set"), "--set needs a value. "),
    ((*PLAN, "--json=3"), "--json takes no value. "),
    ((*PLAN, "--world-size", "two"), "--world-size must be a whole number, not 'two'. "),
    (("inventory", "model.json", "--ratio", "x"), "--ratio must be a number, not 'x'. "),
    ((*PLAN, "more", "yet"), "optimbuild plan takes no further argument: more yet. "),
    (("plan",), "optimbuild plan needs CONFIG. A config file of any dialect. See `optimbuild plan --help`."),
    ((*PLAN, "--params", "--json"), "--params and --json are two views of the plan, and --json has all. "),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[words[:30] for _, words in MISTAKES])
def test_a_mistake_is_one_line_that_says_what_would_be_right(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"Error: {words}")


def test_without_arguments_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert (out, "Error" in err) == ("", False)
    assert "Show what every parameter gets" in err
