"""Hooks and steps that read groups by place or by a mark train under ours as under the constructors that they know.

They are written again from what was measured; ``tests/openmmlab/train.py`` trains with the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mmengine.runner import Runner
from torch import nn

from optimbuild import optimizer
from optimbuild.registry import OPTIMIZERS as OURS_BY_NAME
from tests.integrations.mmengine.project import OURS, Toy, same, trained, weights

LOOP = {"implementation": "for-loop", "watch": False}


class ThreeGroups:
    """MMYOLO's groups, written down as they were measured: weights, weights of batch norms, biases."""

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        self._options = dict(optim_wrapper_cfg["optimizer"])
        self._base = (paramwise_cfg or {})["base_total_batch_size"]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        total = self._options.pop("batch_size_per_gpu")
        decay = self._options.pop("weight_decay") * total * max(round(self._base / total), 1) / self._base
        groups: list[dict[str, Any]] = [{"params": [], "weight_decay": decay}, {"params": []}, {"params": []}]
        for module in model.modules():
            if isinstance(getattr(module, "bias", None), nn.Parameter):
                groups[2]["params"].append(module.bias)
            if isinstance(getattr(module, "weight", None), nn.Parameter):
                groups[isinstance(module, nn.BatchNorm1d)]["params"].append(module.weight)
        kind = self._options.pop("type")
        return OptimWrapper(getattr(torch.optim, kind)(groups, **self._options))


class WarmBiases(Hook):
    """Warm the LR of the third group down from 0.1 and those of the others up from 0, as MMYOLO's hook does."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        part = min(runner.iter / 4, 1.0)
        groups = runner.optim_wrapper.param_groups
        for place, group in enumerate(groups[:3]):
            group["lr"] = (0.1 if place == 2 else 0.0) * (1 - part) + 0.02 * part


class FixedLr(Hook):
    """Reset the LR of groups with ``fix_lr``, as SimSiam's hook does."""

    def before_train_epoch(self, runner: Runner) -> None:
        for group in runner.optim_wrapper.param_groups:
            if group.get("fix_lr"):
                group["lr"] = 0.02


class TrustRatio(torch.optim.SGD):
    """An SGD whose step scales each gradient by a trust ratio, but for groups with ``lars_exclude``, as LARS does."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is not None and not group.get("lars_exclude"):
                    tensor.grad.mul_(0.1 * tensor.detach().norm() / (tensor.grad.norm() + 1e-8))
        return super().step(closure)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Register what the tests name, and take it away again."""
    OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="ThreeGroups", module=ThreeGroups, force=True)
    OPTIMIZERS.register_module(name="TrustRatio", module=TrustRatio, force=True)
    optimizer("trust_ratio", f"{__name__}:TrustRatio", group_marks=("lars_exclude",))
    yield
    del OPTIM_WRAPPER_CONSTRUCTORS.module_dict["ThreeGroups"], OPTIMIZERS.module_dict["TrustRatio"]
    del OURS_BY_NAME.module_dict["trust_ratio"]


def both(folder: Path, ours: dict[str, Any], theirs: dict[str, Any], **options: Any) -> tuple[Runner, Runner]:
    """Train for three epochs of two steps under our constructor and under the published one."""
    left = trained(folder / "ours", 3, {"type": "OptimWrapper", "constructor": OURS, **ours}, **options)
    right = trained(folder / "theirs", 3, {"type": "OptimWrapper", **theirs}, **options)
    start = weights(Toy())
    assert any(not torch.equal(start[name], tensor) for name, tensor in weights(left.model).items())
    return left, right


def test_a_hook_that_warms_the_third_group_trains_the_same(tmp_path: Path) -> None:
    sgd = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.1, "batch_size_per_gpu": 96}
    keys = {"base_total_batch_size": 64}
    ours, theirs = both(
        tmp_path,
        {"optimizer": dict(sgd), "paramwise_cfg": {**keys, **LOOP, "like": "YOLOv5OptimizerConstructor"}},
        {"optimizer": dict(sgd), "paramwise_cfg": keys, "constructor": "ThreeGroups"},
        custom_hooks=[WarmBiases()],
    )
    assert [len(group["params"]) for group in ours.optim_wrapper.optimizer.param_groups] == [4, 1, 5]
    assert [group["weight_decay"] for group in ours.optim_wrapper.optimizer.param_groups] == [0.1 * 1.5, 0, 0]
    assert same(ours.model, theirs.model)


@pytest.mark.parametrize("decayed", [True, False])
def test_a_hook_that_fixes_the_lr_of_marked_groups_trains_the_same(decayed: bool, tmp_path: Path) -> None:
    sgd = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    keys = {"custom_keys": {"head": {"fix_lr": True}}}
    scheduler = {"type": "StepLR", "step_size": 1, "gamma": 0.5, "by_epoch": True}
    ours, theirs = both(
        tmp_path,
        {"optimizer": dict(sgd), "paramwise_cfg": {**keys, **LOOP}},
        {"optimizer": dict(sgd), "paramwise_cfg": keys},
        custom_hooks=[FixedLr()],
        **({"param_scheduler": scheduler} if decayed else {}),
    )
    marks = {group.get("fix_lr"): group["param_names"] for group in ours.optim_wrapper.optimizer.param_groups}
    assert marks[True] == ["head.weight", "head.bias"]
    assert same(ours.model, theirs.model)


def test_a_step_that_reads_a_mark_of_its_group_trains_the_same(tmp_path: Path) -> None:
    lars = {"type": "TrustRatio", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    keys = {"custom_keys": {"norm": {"decay_mult": 0.0, "lars_exclude": True}, "bias": {"lars_exclude": True}}}
    ours, theirs = both(
        tmp_path,
        {"optimizer": dict(lars), "paramwise_cfg": {**keys, **LOOP}},
        {"optimizer": dict(lars), "paramwise_cfg": keys},
    )
    excluded = [
        n
        for group in ours.optim_wrapper.optimizer.param_groups
        if group.get("lars_exclude")
        for n in group["param_names"]
    ]
    assert "norm.weight" in excluded
    assert "head.bias" in excluded
    assert same(ours.model, theirs.model)
