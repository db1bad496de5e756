"""Everybody's trainer resumes bit for bit: its own checkpoint into a built optimizer, and ours into ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import build_optimizer
from optimbuild.checkpoint import load_optimizer_state, names_of
from tests.checkpoint.training import same, weights

CONFIG = {
    "optimizer": {"type": "adamw", "lr": 1e-2, "weight_decay": 0.1},
    "rules": [{"type": "no_decay", "vectors": False}],
}


@pytest.fixture(autouse=True)
def _torch_loads_what_it_loaded_before() -> Iterator[None]:
    """Allow again what the Trainer disallows when it has resumed, such as the arrays in checkpoints of MMEngine."""
    allowed = torch.serialization.get_safe_globals()
    yield
    torch.serialization.add_safe_globals(allowed)


class Classifier(nn.Module):
    """A model as trainers want it: the loss comes out of forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.embed = nn.Linear(4, 6)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)) for _ in range(2)])
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(x) + self.token[0]
        for layer in self.layers:
            x = x + layer(x)
        return {"loss": nn.functional.cross_entropy(self.head(x), labels)}


def samples() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(4, generator=generator), "labels": torch.tensor(i % 3)} for i in range(32)]


# --- Hugging Face's Trainer -------------------------------------------------------------------


def trainer(model: nn.Module, directory: Path, **more: Any) -> Any:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs it")
    from transformers import Trainer, TrainingArguments

    options = {
        "optim": "adamw_torch_fused",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 100,
        "seed": 3,
    }
    schedule = {"max_steps": 8, "save_steps": 4, "save_strategy": "steps", "lr_scheduler_type": "linear"}
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        weight_decay=0.1,
        max_grad_norm=0.0,
        **schedule,
        **options,
    )
    return Trainer(model, arguments, train_dataset=samples(), **more)


def with_ours(model: nn.Module, directory: Path) -> Any:
    from transformers import get_scheduler

    optimizer = build_optimizer(CONFIG, model)
    return trainer(model, directory, optimizers=(optimizer, get_scheduler("linear", optimizer, 0, 8)))


def quietly(work: Any, *args: Any, **kwargs: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the trainer
        work(*args, **kwargs)


@pytest.mark.parametrize("first", [trainer, with_ours], ids=["its own optimizer", "ours"])
def test_a_checkpoint_of_hugging_faces_trainer_resumes_with_ours(tmp_path: Path, first: Any) -> None:
    whole = Classifier()
    quietly(first(whole, tmp_path / "whole").train)
    again = Classifier()
    resuming = with_ours(again, tmp_path / "again")
    quietly(resuming.train, resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert resuming.state.global_step == 8
    assert same(weights(again), weights(whole))
    assert [len(group["params"]) for group in resuming.optimizer.param_groups] == [5, 8]


# --- accelerate -------------------------------------------------------------------------------


def test_a_checkpoint_of_accelerate_resumes_with_ours(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")

    def run(optimizer_of: Any, steps: range, load_from: Path | None = None, save_to: Path | None = None) -> Any:
        accelerator = accelerate.Accelerator(cpu=True)
        model = Classifier()
        model, optimizer = accelerator.prepare(model, optimizer_of(model))
        if load_from is not None:
            accelerator.load_state(str(load_from))
        for step in steps:
            if step == 4 and save_to is not None:
                accelerator.save_state(str(save_to))
            batch = samples()[4 * step : 4 * step + 4]
            loss = model(torch.stack([s["x"] for s in batch]), torch.stack([s["labels"] for s in batch]))["loss"]
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return weights(accelerator.unwrap_model(model))

    def theirs(model: nn.Module) -> torch.optim.Optimizer:
        decay = [p for p in model.parameters() if p.ndim > 1]
        rest = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-2, fused=True)

    whole = run(theirs, range(8), save_to=tmp_path / "step4")
    resumed = run(lambda model: build_optimizer(CONFIG, model), range(4, 8), load_from=tmp_path / "step4")
    assert same(resumed, whole)


# --- Lightning --------------------------------------------------------------------------------


def test_a_checkpoint_of_lightning_resumes_with_ours(tmp_path: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, ours: bool) -> None:
            super().__init__()
            self.net = Classifier()
            self.ours = ours

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.net(**batch)["loss"]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            if self.ours:
                return build_optimizer(CONFIG, self)
            rest = [p for p in self.parameters() if p.ndim <= 1]
            decay = [p for p in self.parameters() if p.ndim > 1]
            groups = [{"params": rest, "weight_decay": 0.0}, {"params": decay}]
            return torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.1, fused=True)

    def fitted(module: Any, epochs: int, ckpt_path: str | None = None) -> Any:
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(tmp_path),
        )
        loader = torch.utils.data.DataLoader(samples()[:16], batch_size=4)  # type: ignore[arg-type]
        quietly(trainer.fit, module, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return trainer

    for ours in (False, True):
        path = str(tmp_path / f"step4-{ours}.ckpt")
        fitted(Module(ours), 1).save_checkpoint(path)
        whole, again = Module(ours), Module(True)
        fitted(whole, 2)
        fitted(again, 2, path)
        assert same(weights(again), weights(whole))


# --- groups that only their author can name ---------------------------------------------------


def split_by_hand(model: nn.Module) -> list[dict[str, Any]]:
    """Groups in an order that is nobody's: the head first, the rest backwards."""
    named = dict(model.named_parameters())
    head = [tensor for name, tensor in named.items() if name.startswith("head")]
    rest = [tensor for name, tensor in reversed(named.items()) if not name.startswith("head")]
    return [{"params": head}, {"params": rest}]


def test_groups_of_any_order_resume_with_the_function_that_made_them() -> None:
    model = Classifier()
    old = torch.optim.AdamW(split_by_hand(model), lr=1e-2)
    batch = samples()[:4]
    model(torch.stack([s["x"] for s in batch]), torch.stack([s["labels"] for s in batch]))["loss"].backward()
    old.step()
    state = old.state_dict()
    fresh = build_optimizer(CONFIG, model)
    with pytest.raises(
        ValueError, match=r"nothing says which state.*names=\[\[\.\.\.\], \[\.\.\.\]\].*names=lambda model"
    ):
        fresh.load_state_dict(state)
    for names in (split_by_hand, names_of(old, model), names_of(split_by_hand(model), model)):
        fresh.state.clear()
        load_optimizer_state(fresh, state, names=names)
        for tensor in model.parameters():
            assert torch.equal(fresh.state[tensor]["exp_avg"], old.state[tensor]["exp_avg"])
