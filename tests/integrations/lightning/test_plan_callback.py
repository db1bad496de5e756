"""Lightning's callbacks with several optimizers, and without; tests/examples/test_trainers.py has a run with one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ModelError, OptimBuildWarning, Plan, build_optimizer, plan_of

pytest.importorskip("pytorch_lightning")

import pytorch_lightning as lightning

from optimbuild.integrations.lightning import LrCallback, PlanCallback


class Pair(lightning.LightningModule):
    def __init__(self, ours: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.parts, self.ours = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), ours
        self.example_input_array = None

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        if not self.ours:
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in self.parts]
        return [build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1 * 2**i}}, p) for i, p in enumerate(self.parts)]

    def training_step(self, batch: Any, index: int) -> None:
        for part, optimizer in zip(self.parts, self.optimizers(), strict=True):
            optimizer.zero_grad()
            self.manual_backward(part(batch[0]).sum())
            optimizer.step()


def fitted(ours: bool, folder: Path) -> Any:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        callbacks=[PlanCallback(), LrCallback()],
    )
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", OptimBuildWarning)
        trainer.fit(Pair(ours), loader)
    return trainer


def test_each_of_several_optimizers_has_its_plan_and_its_rates(tmp_path: Path) -> None:
    trainer = fitted(True, tmp_path)
    plans = [Plan.from_json((tmp_path / f"plan.{i}.json").read_text("utf-8")) for i in range(2)]
    assert [plan["weight"].lr for plan in plans] == [0.1, 0.2]
    rates = {key: float(value) for key, value in trainer.logged_metrics.items()}
    assert rates == {f"{i}.lr{end}": pytest.approx(0.1 * 2**i) for i in range(2) for end in ("", "/min", "/max")}
    with pytest.raises(ModelError, match="several optimizers, '0', '1'"):
        plan_of(trainer)
    assert plan_of(trainer.optimizers[1]).fingerprint == plans[1].fingerprint


def test_optimizers_of_somebody_else_are_told(tmp_path: Path) -> None:
    with pytest.warns(OptimBuildWarning, match="PlanCallback has nothing to do"):
        trainer = fitted(False, tmp_path)
    assert not list(tmp_path.iterdir())
    assert not trainer.logged_metrics
