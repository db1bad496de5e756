"""The main job, run for real but briefly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "examples/digits.py", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_digits_show_the_plan_first_and_the_accuracy_last_and_the_same_seed_repeats_the_run():
    first = run("configs/digits_vit.yaml", "--epochs", "2")
    lines = first.splitlines()
    assert lines[0].startswith("model ")
    assert "ViTForImageClassification" in lines[0]
    accuracy = re.fullmatch(r"test accuracy: (0\.\d{4})", lines[-1])
    assert accuracy, lines[-1]
    assert float(accuracy[1]) > 0.3, "it learnt nothing"
    assert run("configs/digits_vit.yaml", "--epochs", "2") == first
