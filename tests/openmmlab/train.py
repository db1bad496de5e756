"""Train with the real hooks and optimizers that read groups, under our constructor and under the published one.

``PYTHONPATH=tests/integrations/mmengine python tests/openmmlab/train.py`` ends with 1 where any weight differs by more
than rounding does. The hooks are MMYOLO's, which indexes groups, and SimSiam's, which looks for ``fix_lr``; the
optimizer is MMPretrain's LARS, whose ``step`` looks for ``lars_exclude``. ``.ci/openmmlab.txt`` is its environment.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from project import OURS, Toy, trained, weights
from stand_in import install

EPOCHS = 4
LOOP = {"implementation": "for-loop", "watch": False}
SGD = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
WARM = {"type": "mmyolo.YOLOv5ParamSchedulerHook", "warmup_epochs": 1, "warmup_mim_iter": 3, "max_epochs": EPOCHS}
FIXED = {"type": "mmpretrain.SimSiamHook", "fix_pred_lr": True, "lr": 0.02, "adjust_by_epoch": False}
EXCLUDED = {"norm": {"decay_mult": 0.0, "lars_exclude": True}, "bias": {"lars_exclude": True}}

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "YOLOv5's hook": (
        "mmyolo.YOLOv5OptimizerConstructor",
        {**SGD, "nesterov": True, "batch_size_per_gpu": 96},
        {"base_total_batch_size": 64},
        {"default_hooks": {"param_scheduler": WARM}},
    ),
    "YOLOv5's hook with YOLOv7's groups": (
        "mmyolo.YOLOv7OptimWrapperConstructor",
        {**SGD, "batch_size_per_gpu": 12},
        {"base_total_batch_size": 64},
        {"default_hooks": {"param_scheduler": {**WARM, "scheduler_type": "cosine"}}},
    ),
    "SimSiam's hook": (
        "DefaultOptimWrapperConstructor",
        SGD,
        {"custom_keys": {"head": {"fix_lr": True}}},
        {"custom_hooks": [FIXED], "param_scheduler": {"type": "StepLR", "step_size": 1, "gamma": 0.5}},
    ),
    "LARS": (
        "DefaultOptimWrapperConstructor",
        {"type": "mmpretrain.LARS", "lr": 0.5, "momentum": 0.9, "weight_decay": 1e-3},
        {"custom_keys": EXCLUDED},
        {},
    ),
}
"""By name the published constructor, its optimizer and ``paramwise_cfg``, and what the runner has beside it."""


def main() -> int:
    """Train all cases, print a line for each, and return 1 where any differs."""
    install()
    warnings.simplefilter("ignore")
    logging.disable()
    for package in ("mmyolo", "mmpretrain"):
        importlib.import_module(f"{package}.engine")
    different = 0
    for name, case in CASES.items():
        with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
            moved, apart = distances(Path(folder), *case)
        equal = moved > 1e-3 and apart < 1e-6
        print(f"{name:<36}weights moved by {moved:.3f}, and are {apart:.1e} apart: {'equal' if equal else 'DIFFERENT'}")
        different += not equal
    return 1 if different else 0


def distances(
    folder: Path, constructor: str, optimizer: dict[str, Any], keys: dict[str, Any], more: dict[str, Any]
) -> tuple[float, float]:
    """Return how far training moves the weights, and how far apart they are under the two constructors."""
    like = {**keys, **LOOP, "like": constructor}
    ours = {"type": "OptimWrapper", "constructor": OURS, "optimizer": dict(optimizer), "paramwise_cfg": like}
    theirs = {"type": "OptimWrapper", "constructor": constructor, "optimizer": dict(optimizer), "paramwise_cfg": keys}
    left = weights(trained(folder / "ours", EPOCHS, ours, **more).model)
    right = weights(trained(folder / "theirs", EPOCHS, theirs, **more).model)
    torch.manual_seed(0)
    start = weights(Toy())
    return _apart(left, start), _apart(left, right)


def _apart(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between the weights of two models."""
    names = [name for name, _ in Toy().named_parameters()]
    return max(float((left[name] - right[name]).abs().max()) for name in names)


if __name__ == "__main__":
    sys.exit(main())
