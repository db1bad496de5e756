"""The Trainer's callbacks, event by event; tests/examples/test_trainers.py has them in a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import OptimBuildWarning, build_optimizer

pytest.importorskip("accelerate")

from transformers import TrainerControl, TrainerState, TrainingArguments

from optimbuild.integrations.transformers import LrCallback, PlanCallback

CONFIG = {"optimizer": {"type": "sgd", "lr": 0.5}, "rules": [{"type": "match", "table": {"weight": {"lr_mult": 0.5}}}]}


def event(folder: Path, report_to: str = "none") -> tuple[TrainingArguments, TrainerState, TrainerControl]:
    args = TrainingArguments(output_dir=str(folder), report_to=report_to, use_cpu=True)
    return args, TrainerState(log_history=[{}]), TrainerControl()


def logged(callback: LrCallback, folder: Path, logs: dict[str, Any]) -> TrainerState:
    args, state, control = event(folder)
    callback.on_optimizer_step(args, state, control, optimizer=build_optimizer(CONFIG, nn.Linear(2, 2)))
    callback.on_log(args, state, control, logs=logs)
    return state


def test_the_groups_are_logged_under_their_names_on_request(tmp_path: Path) -> None:
    logs = {"learning_rate": 0.25}
    state = logged(LrCallback(groups=True), tmp_path, logs)
    extremes = {"learning_rate": 0.5, "learning_rate/min": 0.25, "learning_rate/max": 0.5}
    assert logs == {**extremes, "learning_rate/weight": 0.25, "learning_rate/bias": 0.5}
    assert state.log_history == [logs]


def test_what_has_no_rate_is_logged_as_it_is(tmp_path: Path) -> None:
    logs = {"eval_loss": 1.0}
    assert logged(LrCallback(), tmp_path, logs).log_history == [{}]
    assert logs == {"eval_loss": 1.0}


def test_loggers_that_do_not_see_the_base_rate_are_told(tmp_path: Path) -> None:
    with pytest.warns(OptimBuildWarning, match=r"loggers of report_to, tensorboard, come before LrCallback"):
        LrCallback().on_train_begin(*event(tmp_path, "tensorboard"))
    LrCallback().on_train_begin(*event(tmp_path))


def test_no_folder_of_a_checkpoint_is_made_that_the_trainer_did_not_make(tmp_path: Path) -> None:
    PlanCallback().on_save(*event(tmp_path), optimizer=build_optimizer(CONFIG, nn.Linear(2, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_an_optimizer_of_somebody_else_has_no_plan_to_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.warns(OptimBuildWarning, match="PlanCallback has nothing to do"):
        PlanCallback().on_train_begin(*event(tmp_path), optimizer=optimizer)
    PlanCallback().on_save(*event(tmp_path), optimizer=optimizer)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())
