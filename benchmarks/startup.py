"""The command line: processor time from nothing to an answer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks import models, sides
from benchmarks.measuring import Effort, row_of
from benchmarks.results import Result, Target

ABOUT = """Processor time (user and system) of a whole process. Python itself and importing torch are there to
compare."""

ROOT = Path(__file__).parent.parent
HELP, PLAN = "optimbuild --help", "optimbuild plan, 1357 tensors"


def run(effort: Effort) -> Result:
    """Measure processes in turn."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "config.yaml"
        rules = (sides.NO_DECAY, {"type": "layer_decay", "ratio": 0.9}, {"type": "dcn_lr", "factor": 0.1})
        config.write_text(yaml.safe_dump(sides.config(*rules)), "utf-8")
        inventory = str(models.INVENTORIES / "internimage_h.json")
        commands = {
            "python -c pass": ["-c", "pass"],
            HELP: ["-m", "optimbuild", "--help"],
            PLAN: ["-m", "optimbuild", "plan", str(config), "--model", inventory],
            "python -c 'import torch'": ["-c", "import torch"],
        }
        samples: dict[str, list[float]] = {side: [] for side in commands}
        for _ in range(1 if effort.quick else effort.rounds):
            for side, command in commands.items():
                samples[side].append(_seconds(command))
    rows = [row_of("a new process", side, times) for side, times in samples.items()]
    medians = {row.side: row.median for row in rows}
    targets = [
        Target(f"`{HELP}`, processor time", medians[HELP], 0.25, unit="s"),
        Target(f"`{PLAN}`, processor time", medians[PLAN], 0.8, unit="s"),
    ]
    return Result("startup", ABOUT, rows, targets)


def _seconds(command: list[str]) -> float:
    """Return the processor time that a new Python process takes.

    Raises:
        CalledProcessError: It fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    subprocess.run(
        [sys.executable, *command],
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, "OPTIMBUILD_PLUGINS": "none"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
