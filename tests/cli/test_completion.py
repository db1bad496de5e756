"""Completion in real shells: the script that is printed for one completes commands, options and names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = '"$(_OPTIMBUILD_COMPLETE=source_{shell} optimbuild)"'
TYPED = {
    "inv": "inventory",
    "plan --wor": "--world-size",
    "list no_d": "no_decay",
    "list optimizers sgd_l": "sgd_linear_probing",
}
"""What is typed after ``optimbuild``, and what completes it."""

SHELLS = {
    "bash": [
        "--norc",
        "-c",
        f"""eval {SCRIPT.format(shell="bash")}
        while read -r line; do
            COMP_WORDS=($line); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _optimbuild_completion optimbuild
            printf '%s\\n' "${{COMPREPLY[@]}}"
        done""",
    ],
    "zsh": [
        "-f",
        "-c",
        f"""compdef() {{ }}; _arguments() {{ print -r -- "$@" }}; eval {SCRIPT.format(shell="zsh")}
        while read -r line; do words=(${{=line}}); CURRENT=$#words; _optimbuild_completion; done""",
    ],
    "fish": [
        "--no-config",
        "-c",
        "env _OPTIMBUILD_COMPLETE=source_fish optimbuild | source; while read line; complete -C $line; end",
    ],
}
"""By shell how it completes the lines on its stdin."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``optimbuild`` is this one."""
    (tmp_path / "optimbuild").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m optimbuild "$@"\n')
    (tmp_path / "optimbuild").chmod(0o755)
    paths = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    return {**os.environ, **paths}


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
def test_a_shell_completes_commands_options_and_names(shell: str, environment: dict[str, str]) -> None:
    lines = "".join(f"optimbuild {typed}\n" for typed in TYPED)
    ran = subprocess.run(
        [shell, *SHELLS[shell]], input=lines, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.stderr == ""
    found = ran.stdout.splitlines()
    assert len(found) == len(TYPED)
    assert [wanted in line for wanted, line in zip(TYPED.values(), found, strict=True)] == [True] * len(TYPED)
