"""The digits in MMEngine's runner, run for real but briefly: alone and resumed, and on two ranks with ZeRO."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import optimbuild.integrations.mmengine  # noqa: F401  # lets torch load the checkpoints of runners
from optimbuild import Plan
from optimbuild.cli import main

ROOT = Path(__file__).parents[2]
CONFIG = "configs/digits_vit_mmengine.py"
BRIEF = ["train_cfg.val_interval=1", "default_hooks.checkpoint.interval=1"]


def run(*arguments: str, options: list[str], processes: int = 1) -> str:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [
            *([sys.executable, *launcher] if processes > 1 else [sys.executable]),
            *("examples/digits_mmengine.py", CONFIG, *arguments, "--cfg-options", *BRIEF, *options),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def accuracy(output: str) -> float:
    found = re.fullmatch(r"test accuracy: (0\.\d{4})", output.splitlines()[-1])
    assert found, output
    return float(found[1])


@pytest.mark.slow
def test_the_digits_are_learnt_and_the_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    first = run("--work-dir", str(tmp_path), options=["train_cfg.max_epochs=1"])
    assert "optimizer    adamw, fused, 12 groups" in first
    plan = Plan.from_json((tmp_path / "plan.json").read_text("utf-8"))
    assert plan["vit.classifier.weight"].lr == 2e-3
    second = run("--work-dir", str(tmp_path), "--resume", options=["train_cfg.max_epochs=3"])
    assert "resumed epoch: 1, iter: 23" in second
    assert "The plan, compared with the checkpoint: the same" in second
    assert accuracy(second) > max(accuracy(first), 0.3)


@pytest.mark.slow
def test_two_ranks_share_the_optimizer_state(tmp_path: Path) -> None:
    zero = ["optim_wrapper.paramwise_cfg.zero=True", "train_cfg.max_epochs=1"]
    output = run("--work-dir", str(tmp_path), "--launcher", "pytorch", options=zero, processes=2)
    assert output.count("test accuracy") == 1
    state = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["optimizer"]["state"]
    assert len(state) == 72


def test_the_command_line_plans_the_example(capsys) -> None:
    assert main(["plan", CONFIG]) == 0
    assert "DigitsViT: 136k parameters in 72 tensors" in capsys.readouterr().out
