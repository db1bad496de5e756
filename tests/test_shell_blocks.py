"""The ``optimbuild`` commands in the shell blocks of README and docs do what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from optimbuild.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
COMMANDS = [
    line
    for page in PAGES
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("optimbuild ")
]


def test_there_are_such_commands():
    assert COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_succeeds_and_writes_its_file(command: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    assert main(arguments) == 0
    written = arguments[arguments.index("-o") + 1 :][:1]
    assert all((tmp_path / name).stat().st_size for name in written)
