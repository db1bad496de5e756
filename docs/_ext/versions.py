"""The releases that CI tests, from the files that it reads."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from registered import Generated
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DECLARED, PINNED = "pyproject.toml", "constraints.txt"
OLDEST, NEWEST, OPENMMLAB = ".ci/oldest.txt", ".ci/newest.txt", ".ci/openmmlab.txt"
PACKAGES = {
    "mmengine": "runners, hooks, distributed training, checkpoints",
    "transformers": "plans of a hundred architectures; the Trainer",
    "timm": "plans of one model per family; optimizers; schedulers (beside the oldest and the newest torch)",
    "pytorch-lightning": "training and resuming",
    "accelerate": "training and resuming",
    "deepspeed": "ZeRO stages 1 to 3 and its checkpoints",
    "omegaconf": "configs",
}
"""What is tested with each package, at its pinned release."""
CONSTRUCTORS = ("mmdet", "mmsegmentation", "mmpretrain", "mmpose", "mmyolo", "mmaction2")
"""OpenMMLab's packages whose constructors are compared, live."""


class Versions(Generated):
    """Python, torch and torchvision: the oldest, the pinned and the newest that are tested; and other packages."""

    def markdown(self) -> str:
        """Return two sentences, each with a table."""
        for file in (DECLARED, PINNED, OLDEST, NEWEST, OPENMMLAB):
            self.env.note_dependency(str(ROOT / file))
        project = tomllib.loads(_text(DECLARED))["project"]
        (oldest,) = (need.removeprefix("torch>=") for need in project["dependencies"] if need.startswith("torch>="))
        python = project["requires-python"].removeprefix(">=")
        vision, newest = _release(OLDEST, "torchvision"), _release(NEWEST, "torch")
        torches = [
            ("oldest", oldest, vision, "what reads models, plans, builds, steps or saves"),
            ("pinned", _release(PINNED, "torch"), "none", "everything, and the commands of the README"),
            ("newest", newest, _release(NEWEST, "torchvision"), "all but the tests that take longest, without a skip"),
        ]
        packages = [(name, _release(PINNED, name), what) for name, what in PACKAGES.items()]
        packages += [
            (name, _release(OPENMMLAB, name), "its constructors, live, beside the newest torch")
            for name in CONSTRUCTORS
        ]
        return "\n".join(
            [
                f"Python {python} and torch {oldest} are the oldest. CI runs on Python {python} and Linux:",
                *_table(("", "torch", "torchvision", "what runs"), torches),
                "And these packages, at the releases that are named:",
                *_table(("package", "release", "what is tested with it"), packages),
            ]
        )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["", *(f"| {' | '.join(row)} |" for row in lines), ""]


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
