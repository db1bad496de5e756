"""The hook that keeps the plan with the run: in its log, its work directory and its checkpoints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from optimbuild import OptimBuildWarning, Plan
from tests.integrations.mmengine.project import Wrong, adamw, loader, settings, stopped, trained
from tests.integrations.mmengine.test_constructor import Gan, gan, seeded

HOOK = {"custom_hooks": [{"type": "optimbuild.PlanHook"}]}


class Listener(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class ListenHook(Hook):
    """Listen to the runner's logger."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.listener = Listener()

    def before_run(self, runner: Any) -> None:
        runner.logger.addHandler(self.listener)


@pytest.fixture
def ears() -> ListenHook:
    return ListenHook()


def heard(ears: ListenHook, text: str) -> list[str]:
    return [line for line in ears.listener.lines if text in line]


def test_the_table_is_logged_once(tmp_path: Path, ears: ListenHook) -> None:
    runner = trained(tmp_path, 2, adamw(), custom_hooks=[*HOOK["custom_hooks"], ears])
    (table,) = heard(ears, "Plan:\n")
    assert table == f"Plan:\n{runner.optim_wrapper.optimizer.plan}"
    assert "mmengine.AdamW" in table


def test_the_plan_is_written_into_the_work_directory(tmp_path: Path) -> None:
    runner = trained(tmp_path, 1, adamw(), **HOOK)
    plan = Plan.from_json((tmp_path / "plan.json").read_text("utf-8"))
    assert plan == runner.optim_wrapper.optimizer.plan


def test_checkpoints_hold_the_plan_and_its_fingerprint(tmp_path: Path) -> None:
    runner = trained(tmp_path, 1, adamw(), **HOOK)
    meta = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["meta"]["optimbuild"]
    assert meta["fingerprint"] == runner.optim_wrapper.optimizer.plan.fingerprint
    assert Plan.from_json(meta["plan"]) == runner.optim_wrapper.optimizer.plan


def test_a_resumed_run_says_that_nothing_changed(tmp_path: Path, ears: ListenHook) -> None:
    trained(tmp_path, 1, adamw(), **HOOK)
    trained(tmp_path, 2, adamw(), custom_hooks=[*HOOK["custom_hooks"], ears], resume=True)
    assert heard(ears, "compared with") == ["The plan, compared with the checkpoint: the same"]


def test_a_resumed_run_says_what_changed(tmp_path: Path, ears: ListenHook) -> None:
    trained(tmp_path, 1, adamw(), **HOOK)
    changed = adamw()
    changed["optimizer"]["weight_decay"] = 0.2
    with pytest.warns(OptimBuildWarning, match="the options of the save count"):
        trained(tmp_path, 2, changed, custom_hooks=[*HOOK["custom_hooks"], ears], resume=True)
    (line,) = heard(ears, "compared with")
    assert "weight_decay of" in line
    assert "0.1 → 0.2" in line


def test_a_checkpoint_without_a_plan_is_said_to_hold_none(tmp_path: Path, ears: ListenHook) -> None:
    stopped(tmp_path, adamw(ours=False))
    trained(tmp_path, 4, adamw(), custom_hooks=[*HOOK["custom_hooks"], ears], resume=True)
    assert "holds none" in heard(ears, "compared with")[0]


def test_a_checkpoint_with_an_altered_plan_does_not_stop_the_run(tmp_path: Path, ears: ListenHook) -> None:
    trained(tmp_path, 1, adamw(), **HOOK)
    checkpoint = torch.load(tmp_path / "epoch_1.pth", weights_only=True)
    checkpoint["meta"]["optimbuild"] = {"fingerprint": "0", "plan": "{}"}
    torch.save(checkpoint, tmp_path / "epoch_1.pth")
    trained(tmp_path, 2, adamw(), custom_hooks=[*HOOK["custom_hooks"], ears], resume=True)
    assert "cannot be read" in heard(ears, "compared with")[0]


def test_weights_that_are_only_loaded_are_not_compared(tmp_path: Path, ears: ListenHook) -> None:
    trained(tmp_path / "first", 1, adamw(), **HOOK)
    hooks = [*HOOK["custom_hooks"], ears]
    trained(tmp_path / "second", 1, adamw(), custom_hooks=hooks, load_from=str(tmp_path / "first" / "epoch_1.pth"))
    assert heard(ears, "compared with") == []


def test_each_of_several_optimizers_has_its_plan(tmp_path: Path, ears: ListenHook) -> None:
    trained(tmp_path, 1, gan(), model=seeded(Gan), custom_hooks=[*HOOK["custom_hooks"], ears])
    assert len(heard(ears, "Plan of generator:\n")) == len(heard(ears, "Plan of critic:\n")) == 1
    assert Plan.from_json((tmp_path / "plan.critic.json").read_text("utf-8"))["1.bias"].lr == 0.1
    trained(tmp_path, 2, gan(), model=seeded(Gan), custom_hooks=[*HOOK["custom_hooks"], ears], resume=True)
    assert "The plan of critic, compared with the checkpoint: the same" in ears.listener.lines


def test_under_another_constructor_the_hook_says_that_it_has_nothing_to_do(tmp_path: Path, ears: ListenHook) -> None:
    trained(tmp_path, 1, adamw(ours=False), custom_hooks=[*HOOK["custom_hooks"], ears])
    assert len(heard(ears, "PlanHook has nothing to do")) == 1
    assert not (tmp_path / "plan.json").exists()
    assert "optimbuild" not in torch.load(tmp_path / "epoch_1.pth", weights_only=True)["meta"]


def test_validation_alone_needs_no_plan(tmp_path: Path) -> None:
    options = {"val_dataloader": loader(), "val_evaluator": [Wrong()], "val_cfg": {}}
    runner = Runner(**settings(tmp_path, 1, adamw(), **options, **HOOK))
    assert set(runner.val()) == {"wrong"}
