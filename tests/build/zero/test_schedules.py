"""Schedulers of torch, MMEngine and timm over an optimizer under ZeRO."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from optimbuild import build_optimizer
from tests.build.zero.training import OPTIMIZERS, config_of, net, same, train
from tests.distributed import run


def timm_schedulers() -> Any:
    """Import timm's schedulers without its models, which want torchvision too; this process ends soon."""
    package = ModuleType("timm")
    spec = importlib.util.find_spec("timm")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["timm"] = package
    return importlib.import_module("timm.scheduler")


def schedules_of_timm() -> dict[str, Callable[[Any], Callable[[int], Any]]]:
    cosine = timm_schedulers().CosineLRScheduler

    def timm_cosine(built: Any) -> Callable[[int], Any]:
        scheduler = cosine(built, t_initial=8, warmup_t=3, warmup_lr_init=1e-4)
        return lambda step: scheduler.step(step + 1)

    return {"timm cosine": timm_cosine}


def schedules() -> dict[str, Callable[[Any], Callable[[int], Any]]]:
    from mmengine.optim import OptimWrapper
    from mmengine.optim.scheduler import CosineAnnealingLR as MMEngineCosine
    from mmengine.optim.scheduler import CosineAnnealingMomentum, LinearLR
    from torch.optim import lr_scheduler as torch_schedules

    def each(*schedulers: Any) -> Callable[[int], Any]:
        return lambda step: [scheduler.step() for scheduler in schedulers]

    def plateau(built: Any) -> Callable[[int], Any]:
        scheduler = torch_schedules.ReduceLROnPlateau(built, patience=1)
        return lambda step: scheduler.step(1.0)

    def sequence(built: Any) -> Callable[[int], Any]:
        parts = [torch_schedules.LinearLR(built, 0.1, total_iters=3), torch_schedules.CosineAnnealingLR(built, 7)]
        return each(torch_schedules.SequentialLR(built, parts, milestones=[3]))

    return {
        "torch lambda": lambda built: each(torch_schedules.LambdaLR(built, lambda step: 0.9**step)),
        "torch one cycle": lambda built: each(torch_schedules.OneCycleLR(built, max_lr=0.1, total_steps=12)),
        "torch sequence": sequence,
        "torch plateau": plateau,
        "mmengine": lambda built: each(
            LinearLR(OptimWrapper(built), 0.1, end=3), MMEngineCosine(OptimWrapper(built), T_max=7, begin=3)
        ),
        "mmengine momentum": lambda built: each(CosineAnnealingMomentum(built, T_max=7)),
    }


def scheduled(
    schedules: Callable[[], dict[str, Callable[[Any], Callable[[int], Any]]]],
) -> dict[str, tuple[bool, bool, bool]]:
    """For each schedule: the same parameters, the same LRs, and LRs that moved."""
    found = {}
    for name, schedule in schedules().items():
        ends = []
        for zero in (False, True):
            model = net()
            built = build_optimizer(config_of(OPTIMIZERS["adamw"], zero=zero), model)
            planned = [group["lr"] for group in built.param_groups]
            parameters = train(model, built, after_step=schedule(built))
            settings = [(group["lr"], tuple(group["betas"])) for group in built.param_groups]
            ends.append((parameters, settings, planned))
        (plain, their_settings, planned), (ours, our_settings, _) = ends
        moved = [lr for lr, _ in our_settings] != planned or name == "mmengine momentum"
        found[name] = same(ours, plain), our_settings == their_settings, moved
    return found


def test_schedulers_drive_zero_as_they_drive_the_plain_optimizer():
    for rank in run(2, scheduled, schedules, timeout=120):
        assert len(rank) == 6
        assert rank == dict.fromkeys(rank, (True, True, True))


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_scheduler_of_timm_drives_zero_as_it_drives_the_plain_optimizer():
    for rank in run(2, scheduled, schedules_of_timm, timeout=120):
        assert rank == {"timm cosine": (True, True, True)}
