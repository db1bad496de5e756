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
from typing import Any

import pytest
import yaml
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

if "PYTEST_XDIST_WORKER" in os.environ:  # workers that share the cores, and the processes that they start, do not
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # wait for each other's threads; torch reads this when imported

ROOT = Path(__file__).parent
collect_ignore = ["docs/conf.py", "docs/_ext", "optimbuild/plugin_template/files"]

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


class YamlBlockParser(CodeBlockParser):
    """Read ``yaml`` blocks; one that is a config is the ``config`` of the Python snippets below it."""

    language = "yaml"

    def evaluate(self, example: Example) -> str | None:
        """Read the block; an unknown key, optimizer, rule or option in a config is a failure."""
        from optimbuild.config import read_config
        from optimbuild.plan.apply import made_rule
        from optimbuild.plan.base_options import base_options

        found = yaml.safe_load(str(example.parsed))
        if isinstance(found, dict) and "optimizer" in found:
            spec = read_config(found).spec
            base_options(spec)(None)
            for place, rule in enumerate(spec.rules):
                made_rule(rule, f"rules[{place}]")
            example.namespace["config"] = found
        return None


Entries = dict[str, Any]


def registered() -> list[Entries]:
    """Return what the registries hold now."""
    from optimbuild.registry import CONSTRUCTORS, OPTIMIZERS, RULES

    for registry in (RULES, OPTIMIZERS, CONSTRUCTORS):
        registry.import_from_location()
    return [dict(registry._module_dict) for registry in (RULES, OPTIMIZERS, CONSTRUCTORS)]


def forget_all_but(before: list[Entries]) -> None:
    """Forget what was registered since."""
    from optimbuild.registry import CONSTRUCTORS, OPTIMIZERS, RULES

    for registry, entries in zip((RULES, OPTIMIZERS, CONSTRUCTORS), before, strict=True):
        registry._module_dict.clear()
        registry._module_dict.update(entries)


@pytest.fixture(autouse=True, scope="module")
def _what_a_file_registers_stays_in_it() -> Iterator[None]:
    before = registered()
    yield
    forget_all_but(before)


# Snippets know no fixtures that are used by themselves, but a set-up for each document.
BEFORE = "registered before"
pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE),
        ConsoleBlockParser(),
        YamlBlockParser(),
        SkipParser(),
    ],
    patterns=["*.md"],
    excludes=["**/_build/**"],
    setup=lambda namespace: namespace.update({BEFORE: registered()}),
    teardown=lambda namespace: forget_all_but(namespace[BEFORE]),
).pytest()
