"""What every test shares: the snippets of the Markdown files are tests, and what a file registers stays in it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parent
collect_ignore = ["docs/conf.py", "docs/_ext"]

COLUMNS = "100"
"""How wide a terminal the snippets were made in."""

COMMAND = re.compile(r"^\$ optimbuild (.*)\n((?:(?!\$ ).*\n?)*)", re.MULTILINE)
"""A command in a console block, and what it printed."""


class ConsoleBlockParser(CodeBlockParser):
    """Run the commands of ``console`` blocks that show what they print; others are only shown."""

    language = "console"

    def evaluate(self, example: Example) -> str | None:
        """Return how a command printed something else, or None."""
        environment = os.environ | {"COLUMNS": COLUMNS, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
        for command, printed in COMMAND.findall(str(example.parsed) + "\n"):
            if not printed.strip():
                continue
            ran = subprocess.run(
                [sys.executable, "-m", "optimbuild", *shlex.split(command)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=120,
                check=False,
            )
            if not OutputChecker().check_output(printed.strip(), ran.stdout.strip(), ELLIPSIS | NORMALIZE_WHITESPACE):
                return f"optimbuild {command}\nis shown with:\n{printed}\nbut printed:\n{ran.stdout}"
        return None


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE),
        ConsoleBlockParser(),
        SkipParser(),
    ],
    patterns=["*.md"],
    excludes=["**/_build/**"],
).pytest()


@pytest.fixture(autouse=True, scope="module")
def _what_a_file_registers_stays_in_it() -> Iterator[None]:
    """Forget, after each file of tests or snippets, the rules and optimizers that it registered."""
    from optimbuild.registry import OPTIMIZERS, RULES

    before = []
    for registry in (RULES, OPTIMIZERS):
        registry.import_from_location()
        before.append((registry, dict(registry._module_dict)))
    yield
    for registry, entries in before:
        registry._module_dict.clear()
        registry._module_dict.update(entries)
