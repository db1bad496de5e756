"""A small project around MMEngine's runner: a model, data, a metric, and runners made of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

OURS = "optimbuild.OptimBuildConstructor"
CLASSIC: Mapping[str, Any] = {
    "norm_decay_mult": 0.0,
    "bias_lr_mult": 2.0,
    "custom_keys": {"backbone.0": {"lr_mult": 0.1}, "head": {"decay_mult": 0.5}},
}


class Toy(BaseModel):
    """A backbone and a head on four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8))
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 2)
        self.seen: list[torch.dtype] = []

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        out = self.head(self.norm(self.backbone(inputs)))
        self.seen.append(out.dtype)
        if mode == "loss":
            return {"loss": functional.cross_entropy(out.float(), labels)}
        return [{"wrong": float(o.argmax() != label)} for o, label in zip(out, labels, strict=True)]  # type: ignore[arg-type]


class Points(Dataset[dict[str, Any]]):
    """Eight random points, always the same ones."""

    def __init__(self) -> None:
        self.points = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
        self.metainfo: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self.points[index], "labels": index % 2}


class Wrong(BaseMetric):
    """How many points the model gets wrong."""

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        self.results += [sample["wrong"] for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"wrong": sum(results)}


def loader(**options: Any) -> dict[str, Any]:
    return {
        "batch_size": 4,
        "num_workers": 0,
        "dataset": Points(),
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
        **options,
    }


_count = itertools.count()


def settings(work_dir: object, epochs: int, wrapper: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Return what a runner is made with; the seed is always the same."""
    torch.manual_seed(0)
    return {
        "model": Toy(),
        "work_dir": str(work_dir),
        "train_dataloader": loader(),
        "optim_wrapper": dict(wrapper),
        "train_cfg": {"by_epoch": True, "max_epochs": epochs},
        "randomness": {"seed": 0},
        "experiment_name": f"test_{next(_count)}",
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "visualizer": {"type": "Visualizer", "vis_backends": None},
        **options,
    }


def trained(work_dir: object, epochs: int, wrapper: Mapping[str, Any], **options: Any) -> Runner:
    """Train for some epochs in a real runner, and return it."""
    runner = Runner(**settings(work_dir, epochs, wrapper, **options))
    runner.train()
    return runner


class StoppedError(Exception):
    """A run was stopped."""


class StopHook(Hook):
    """Stop a run before its third epoch."""

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Any) -> None:
        if runner.epoch == 2:
            raise StoppedError


def stopped(work_dir: object, wrapper: Mapping[str, Any], **options: Any) -> None:
    """Train for two of four epochs."""
    runner = Runner(**settings(work_dir, 4, wrapper, custom_hooks=[StopHook()], **options))
    with contextlib.suppress(StoppedError):
        runner.train()
    assert runner.epoch == 2


def adamw(ours: bool = True, classic: Mapping[str, Any] = CLASSIC, **options: Any) -> dict[str, Any]:
    """Return an optim_wrapper with AdamW, for our constructor or MMEngine's, stepping in a plain loop."""
    optimizer = {"type": "AdamW", "lr": 0.02, "weight_decay": 0.1}
    return wrapper(ours, optimizer, classic, **options)


def sgd(ours: bool = True, classic: Mapping[str, Any] = CLASSIC, **options: Any) -> dict[str, Any]:
    """Return the same with SGD and momentum."""
    optimizer = {"type": "SGD", "lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    return wrapper(ours, optimizer, classic, **options)


def wrapper(ours: bool, optimizer: dict[str, Any], classic: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    paramwise = {**classic, "implementation": "for-loop", "watch": False} if ours else dict(classic)
    made = {"type": "OptimWrapper", "optimizer": optimizer, "paramwise_cfg": paramwise, **options}
    return {**made, "constructor": OURS} if ours else made


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(left: nn.Module, right: nn.Module) -> bool:
    """Say whether two models have the same weights, bit for bit."""
    mine, theirs = weights(left), weights(right)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
