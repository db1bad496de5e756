"""A real runner trains several optimizers as one: wrapped, accumulated, scheduled and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from optimbuild.build.composite import CompositeOptimizer
from tests.integrations.mmengine.project import OURS, same, stopped, trained

SCHEDULE = [
    {"type": "LinearLR", "start_factor": 0.1, "end": 2},
    {"type": "CosineAnnealingLR", "T_max": 4, "eta_min_ratio": 0.1},
]


def wrapper(**options: Any) -> dict[str, Any]:
    route = {"type": "route", "to": "plain", "kinds": ["matrix"], "except": ["output"]}
    optimizers = {"plain": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}}
    return {
        "type": "OptimWrapper",
        "constructor": OURS,
        "optimizer": {"type": "AdamW", "lr": 0.02, "weight_decay": 0.1},
        "paramwise_cfg": {"optimizers": optimizers, "rules": [route], "norm_decay_mult": 0.0},
        **options,
    }


@pytest.mark.parametrize("more", [{}, {"accumulative_counts": 2}, {"clip_grad": {"max_norm": 0.5}}])
def test_a_run_goes_on_as_if_it_had_never_stopped(more: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4, wrapper(**more), param_scheduler=SCHEDULE)
    optimizer = whole.optim_wrapper.optimizer
    assert isinstance(optimizer, CompositeOptimizer)
    assert {group["optimizer"] for group in optimizer.param_groups} == {"mmengine.AdamW", "mmengine.SGD"}
    stopped(tmp_path / "parts", wrapper(**more), param_scheduler=SCHEDULE)
    parts = trained(tmp_path / "parts", 4, wrapper(**more), param_scheduler=SCHEDULE, resume=True)
    assert same(whole.model, parts.model)


def test_a_schedule_keeps_the_ratios_of_both(tmp_path: Path) -> None:
    optimizer = trained(tmp_path, 3, wrapper(), param_scheduler=SCHEDULE).optim_wrapper.optimizer
    ratios = {group["optimizer"]: group["lr"] / group["initial_lr"] for group in optimizer.param_groups}
    assert ratios["mmengine.AdamW"] == pytest.approx(ratios["mmengine.SGD"])
    assert ratios["mmengine.SGD"] < 1


def test_mixed_precision_wraps_both(tmp_path: Path) -> None:
    amp = wrapper(type="AmpOptimWrapper", dtype="bfloat16")
    runner = trained(tmp_path, 2, amp)
    assert isinstance(runner.optim_wrapper.optimizer, CompositeOptimizer)
    assert torch.bfloat16 in runner.model.seen
