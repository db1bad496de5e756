"""The rows of docs/coming-from/lightning.md: what ``configure_optimizers`` returned there and ours train alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from optimbuild import build_optimizer
from tests.coming_from.tables import Weights, differing, on_cpu, rows

lightning: Any = pytest.importorskip("pytorch_lightning")

DATA = [(torch.linspace(-1, 1, 8) * i, torch.tensor(i % 2)) for i in range(16)]
ADAMW, ROW = "AdamW(self.parameters(), lr=1e-3)", {"optimizer": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.01}}
"""The first row."""
Make = Callable[[Any], Any]


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, make: Make) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.make = make
        self.backbone = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU())
        self.head = nn.Linear(8, 2)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

    def configure_optimizers(self) -> Any:
        return self.make(self)


def fitted(make: Make, folder: Path, kind: type[Classifier] = Classifier, **options: Any) -> Weights:
    module = kind(make)
    quiet = dict.fromkeys(["enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about workers of the loader, and what Lightning calls of torch
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", default_root_dir=folder, **{"logger": False, **quiet, **options}
        )
        trainer.fit(module, torch.utils.data.DataLoader(DATA, batch_size=4))  # type: ignore[arg-type]
    return {name: tensor.detach() for name, tensor in module.named_parameters()}


def theirs(call: str) -> Make:
    return lambda module: eval(call, {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD, "self": module})


def ours(config: dict[str, Any]) -> Make:
    return lambda module: build_optimizer(on_cpu(config), module)


@pytest.mark.parametrize(("call", "here"), rows("lightning", "in `configure_optimizers`"))
def test_a_row_for_lightning_trains_what_it_trained(call: str, here: str, tmp_path: Path) -> None:
    found = fitted(ours(yaml.safe_load(here)), tmp_path)
    assert differing(found, fitted(theirs(call), tmp_path)) == []


SETTINGS = [setting for setting, _ in rows("lightning", "`Trainer`")]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_trainer_works_with_ours_as_with_theirs(setting: str, tmp_path: Path) -> None:
    options = eval(f"dict({setting})", {"LearningRateMonitor": lightning.callbacks.LearningRateMonitor})
    if "callbacks" in options:
        options["logger"] = lightning.loggers.CSVLogger(tmp_path)
    scheduled = [
        lambda module, make=make: {
            "optimizer": (optimizer := make(module)),
            "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
        }
        for make in (ours(ROW), theirs(ADAMW))
    ]
    here, there = [fitted(make, tmp_path, **options) for make in scheduled]
    assert differing(here, there) == []


class ByHand(Classifier):
    """Two optimizers that step in turn."""

    def __init__(self, make: Make) -> None:
        super().__init__(make)
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        optimizer = self.optimizers()[index % 2]
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, index))
        optimizer.step()


def test_two_optimizers_step_by_hand(tmp_path: Path) -> None:
    def both(make: Callable[[nn.Module], torch.optim.Optimizer]) -> Make:
        return lambda module: [make(module.backbone), make(module.head)]

    here = fitted(both(ours(ROW)), tmp_path, ByHand)
    there = fitted(both(lambda part: torch.optim.AdamW(part.parameters(), lr=1e-3)), tmp_path, ByHand)
    assert differing(here, there) == []
