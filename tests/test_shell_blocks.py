"""The commands in README and docs do what the page says; those of examples and benchmarks, which take long, exist."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.__main__ import parser
from optimbuild.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def blocks(language: str) -> Iterator[str]:
    for page in PAGES:
        text = page.read_text("utf-8")
        yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("optimbuild ")]
LINES = re.sub(r"\\\n\s*", "", "\n".join([*blocks("sh"), *blocks("console")])).splitlines()
EXAMPLES = sorted({found[1].strip() for line in LINES if (found := re.search(r"(examples/\w+\.py [^#]*)", line))})
BENCHMARKS = sorted({found[1].strip() for line in LINES if (found := re.search(r"python -m benchmarks ([^#]*)", line))})


def test_there_are_such_commands():
    assert all([COMMANDS, EXAMPLES, BENCHMARKS])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_succeeds_and_writes_its_file(command: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    assert main(arguments) == 0
    written = arguments[arguments.index("-o") + 1 :][:1]
    assert all((tmp_path / name).stat().st_size for name in written)


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_takes_the_arguments_that_a_page_gives_it(command: str, monkeypatch) -> None:
    script, *arguments = shlex.split(command)
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    assert (ROOT / module.arguments().config).is_file()


@pytest.mark.parametrize("command", BENCHMARKS)
def test_the_benchmarks_take_the_arguments_that_a_page_gives_them(command: str) -> None:
    parser().parse_args(shlex.split(command))


def test_the_tree_of_folders_is_that_of_the_package() -> None:
    (tree,) = [block for block in blocks("text") if block.startswith("optimbuild/\n")]
    told = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    assert told == {path.parent.name for path in (ROOT / "optimbuild").glob("*/__init__.py")}
