"""A language model trains under one optimizer and under several, as the docs say, and its plan says who trains what."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon since 2.9")
@pytest.mark.parametrize(
    ("model", "config", "matrices", "loss"),
    [
        ("llama", "language.yaml", 0, 2.287),
        ("moe", "language_muon.yaml", 8, 2.169),
    ],
)
def test_a_small_language_model_reaches_the_loss_that_the_docs_give(model, config, matrices, loss):
    command = [sys.executable, "examples/language.py", model, f"configs/{config}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    by_muon = re.findall(r"^muon +0\.02 +0\.1 +(\d+)", done.stdout, re.MULTILINE)
    assert sum(map(int, by_muon)) == matrices
    reached = float(done.stdout.splitlines()[-1].removeprefix("validation loss: "))
    assert reached == pytest.approx(loss, abs=0.05)  # kernels of other machines round differently
