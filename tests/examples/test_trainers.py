"""The scripts on the pages of trainers: they train, save, resume bit for bit, and log learning rates under names."""

from __future__ import annotations

import csv
import importlib
import io
import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from examples.digits import Split, digits
from optimbuild import Plan, plan_of

CONFIG = str(Path(__file__).parents[2] / "configs/digits_vit.yaml")
BASE, LOWEST = 2e-3, 2e-3 * 0.8**5
SAME = "The plan, compared with the checkpoint: the same"
NAMES = {"vit.embeddings/no_decay", "vit.layers.0/decay", "vit.layers.3/no_decay", "classifier.weight", "rest"}


class Runs(NamedTuple):
    """Two epochs, and the second one again from the checkpoint of the first."""

    whole: Any
    again: Any
    weights: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]
    folder: Path
    printed: str


def few() -> tuple[Split, Split]:
    return tuple(Split(split.images[:96], split.digits[:96]) for split in digits())  # type: ignore[return-value]


@contextmanager
def quietly() -> Iterator[None]:
    allowed = torch.serialization.get_safe_globals()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the trainers
        yield
    torch.serialization.add_safe_globals(allowed)  # what the Trainer disallows when it has resumed


def runs(module: Any, folder: Path, checkpoint: str) -> Runs:
    common = [CONFIG, "--epochs", "2", "--output", str(folder)]
    trained, weights = [], []
    with pytest.MonkeyPatch.context() as patch, quietly(), redirect_stdout(io.StringIO()) as printed:
        patch.setattr(module, "digits", few)
        for more in ([], ["--resume", str(folder / checkpoint)]):
            found = module.train(module.arguments([*common, *more]))
            model = getattr(found, "lightning_module", None) or getattr(found, "model", found)
            trained.append(found)
            weights.append({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
    return Runs(trained[0], trained[1], (weights[0], weights[1]), folder, printed.getvalue())


def assert_same(weights: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]) -> None:
    one, other = weights
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- Hugging Face's Trainer -------------------------------------------------------------------


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    pytest.importorskip("accelerate")
    return runs(importlib.import_module("examples.digits_trainer"), tmp_path_factory.mktemp("hf"), "checkpoint-3")


def test_the_trainer_builds_by_the_factory_and_resumes_bit_for_bit(trainer: Runs) -> None:
    assert_same(trainer.weights)
    plan = plan_of(trainer.whole)
    assert [group["name"] for group in trainer.again.optimizer.param_groups] == list(plan.group_names)
    assert set(plan.group_names) >= NAMES


def test_the_trainer_prints_the_plan_and_has_it_beside_checkpoints(trainer: Runs) -> None:
    assert trainer.printed.count("optimizer    adamw") == 2
    assert trainer.printed.count(SAME) == 1
    for step in (3, 6):
        saved = Plan.from_json((trainer.folder / f"checkpoint-{step}" / "plan.json").read_text("utf-8"))
        assert saved.fingerprint == plan_of(trainer.whole).fingerprint


def test_the_trainer_logs_the_base_rate_of_the_step(trainer: Runs) -> None:
    rows = [row for row in trainer.whole.state.log_history if "learning_rate" in row]
    factors = [(1 + math.cos(math.pi * step / 6)) / 2 for step in (2, 5)]
    assert [row["learning_rate"] for row in rows] == pytest.approx([BASE * factor for factor in factors])
    assert [row["learning_rate/max"] for row in rows] == [row["learning_rate"] for row in rows]
    assert [row["learning_rate/min"] for row in rows] == pytest.approx([LOWEST * factor for factor in factors])


# --- Lightning --------------------------------------------------------------------------------


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def lightning(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runs, list[str]]:
    pytest.importorskip("pytorch_lightning")
    told = Lines()
    logging.getLogger("pytorch_lightning.optimbuild").addHandler(told)
    with quietly():
        module = importlib.import_module("examples.digits_lightning")
    found = runs(module, tmp_path_factory.mktemp("lightning"), "epoch=0.ckpt")
    logging.getLogger("pytorch_lightning.optimbuild").removeHandler(told)
    return found, told.lines


def test_lightning_resumes_bit_for_bit_with_its_plan(lightning: tuple[Runs, list[str]]) -> None:
    found, told = lightning
    assert_same(found.weights)
    plan = Plan.from_json((found.folder / "plan.json").read_text("utf-8"))
    assert plan.fingerprint == plan_of(found.whole).fingerprint == plan_of(found.again.lightning_module).fingerprint
    assert [line.startswith("Plan:\nmodel        Digits") for line in told] == [True, True, False]
    assert told[-1] == SAME


def test_lightnings_monitor_shows_names_beside_the_base_rate(lightning: tuple[Runs, list[str]]) -> None:
    (first, _) = sorted((lightning[0].folder / "lightning_logs").glob("*/metrics.csv"))
    with first.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {f"lr-AdamW/{name}" for name in NAMES} <= set(rows[0])
    base = [float(row["lr"]) for row in rows if row["lr"]]
    assert base == pytest.approx([BASE / 2] * 3 + [BASE * 0.5] * 3)
    assert [float(row["lr/min"]) for row in rows if row["lr"]] == pytest.approx([LOWEST / 2] * 6)
    assert [float(row["lr-AdamW/rest"]) for row in rows if row["lr-AdamW/rest"]] == pytest.approx(base)


# --- accelerate -------------------------------------------------------------------------------


def test_accelerate_resumes_bit_for_bit_and_logs_names(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    found = runs(importlib.import_module("examples.digits_accelerate"), tmp_path, "epoch-1")
    assert_same(found.weights)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 1]
    assert all(row["lr"] == row["lr/max"] == row["lr/rest"] == pytest.approx(BASE / 2) for row in rows)
    assert {f"lr/{name}" for name in NAMES} <= set(rows[0])
    assert Plan.from_json((tmp_path / "epoch-1" / "plan.json").read_text("utf-8"))["classifier.bias"].lr == BASE
