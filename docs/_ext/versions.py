"""The releases that CI tests, from the files that it reads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from registered import Generated
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DECLARED, PINNED = "pyproject.toml", "constraints.txt"
OLDEST, NEWEST = ".ci/oldest.txt", ".ci/newest.txt"


class Versions(Generated):
    """Python, torch and torchvision: the oldest, the pinned and the newest that are tested."""

    def markdown(self) -> str:
        """Return a sentence and a table."""
        for file in (DECLARED, PINNED, OLDEST, NEWEST):
            self.env.note_dependency(str(ROOT / file))
        project = tomllib.loads(_text(DECLARED))["project"]
        (oldest,) = (need.removeprefix("torch>=") for need in project["dependencies"] if need.startswith("torch>="))
        python = project["requires-python"].removeprefix(">=")
        rows = [
            ("oldest", oldest, _release(OLDEST, "torchvision"), "what reads models, plans, builds, steps or saves"),
            ("pinned", _release(PINNED, "torch"), "none", "everything, and the commands of the README"),
            (
                "newest",
                _release(NEWEST, "torch"),
                _release(NEWEST, "torchvision"),
                "the suite without a skip, but for the tests that take longest",
            ),
        ]
        head = f"Python {python} and torch {oldest} are the oldest. CI runs on Python {python} and Linux:"
        table = ["| | torch | torchvision | what runs |", "|---|---|---|---|"]
        return "\n".join([head, "", *table, *(f"| {' | '.join(row)} |" for row in rows)])


def _release(file: str, package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", _text(file), re.MULTILINE)
    if not found:
        raise LookupError(f"{file} does not pin {package}")
    return found[1]


def _text(file: str) -> str:
    return (ROOT / file).read_text("utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("versions", Versions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
