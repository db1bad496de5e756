"""The sessions of the page about the check, in one shell from the first command to the last."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/check.md").read_text("utf-8")
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
END = "-- end of a command --"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_sessions_print_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    session = [command for block in blocks("shell-session") for command in COMMAND.findall(block)]
    program = f'optimbuild() {{ {shlex.quote(sys.executable)} -m optimbuild "$@"; }}'
    script = "\n".join([program, *[f"{line}\n(s=$?; echo '{END}'; exit $s)" for line, _ in session]])
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
    )
    *printed, rest = ran.stdout.split(f"{END}\n")
    assert (len(printed), rest) == (len(session), "")
    for (line, shown), given in zip(session, printed, strict=True):
        assert OutputChecker().check_output(shown, given, ELLIPSIS), f"$ {line}\n{given}"


def test_the_hook_without_an_environment_looks_at_the_same_files() -> None:
    (ours,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    (local,) = yaml.safe_load(blocks("yaml")[1])["repos"][0]["hooks"]
    assert {key: local[key] for key in ("id", "entry", "files", "pass_filenames")} == {
        key: ours[key] for key in ("id", "entry", "files", "pass_filenames")
    }


def test_the_page_names_each_input_of_the_action() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["inputs"]
    rows = re.findall(r"^\| `(\S+)` \|.*\|$", PAGE.partition("| input |")[2], re.MULTILINE)
    assert rows == list(inputs)
