"""A language model trains under several optimizers, briefly, and its plan says who trains what."""

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
@pytest.mark.parametrize(("model", "matrices"), [("llama", 14), ("moe", 8)])
def test_a_small_language_model_is_trained_by_muon_and_adamw(model, matrices):
    command = [sys.executable, "examples/language.py", model, "configs/language_muon.yaml", "--steps", "12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    (tensors,) = re.findall(r"^ +\d +muon +0\.02 +0\.1 +(\d+)", done.stdout, re.MULTILINE)
    assert int(tensors) == matrices
    loss = float(done.stdout.splitlines()[-1].removeprefix("validation loss: "))
    assert 2.0 < loss < 5.2  # of 5.5, the logarithm of 256
