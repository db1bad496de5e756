"""MMEngine's checkpoints: loaded without giving up ``weights_only``, and resumed bit for bit."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler import OneCycleLR
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from optimbuild import OptimBuildWarning
from optimbuild.errors import CheckpointError
from optimbuild.integrations.mmengine import checkpoints
from tests.integrations.mmengine.project import (
    CLASSIC,
    StopHook,
    StoppedError,
    Wrong,
    adamw,
    loader,
    same,
    settings,
    sgd,
    stopped,
    trained,
)

ROOT = Path(__file__).parents[3]
WARM_UP = [
    {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 3},
    {"type": "CosineAnnealingLR", "T_max": 4, "eta_min": 1e-4},
]
ONE_CYCLE = [{"type": "OneCycleLR", "eta_max": 0.05, "total_steps": 8, "by_epoch": False}]
MOMENTUM = [{"type": "MultiStepLR", "milestones": [1, 3]}, {"type": "LinearMomentum", "start_factor": 0.5, "end": 4}]
PLATEAU = [{"type": "ReduceOnPlateauLR", "monitor": "wrong", "patience": 0, "min_value": 1e-3}]
VALIDATION = {"val_dataloader": loader(), "val_evaluator": [Wrong()], "val_cfg": {}}


# --- resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("started", ["under ours", "under MMEngine's"])
@pytest.mark.parametrize(
    ("make", "schedule"),
    [(adamw, WARM_UP), (adamw, ONE_CYCLE), (sgd, MOMENTUM)],
    ids=["warm-up", "one-cycle", "momentum"],
)
def test_a_run_goes_on_as_if_it_had_never_stopped(make: Any, schedule: Any, started: str, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4, make(), param_scheduler=schedule)
    stopped(tmp_path / "parts", make(ours=started == "under ours"), param_scheduler=schedule)
    parts = trained(tmp_path / "parts", 4, make(), param_scheduler=schedule, resume=True)
    assert parts.iter == 8
    assert same(whole.model, parts.model)
    values = [{k: v for k, v in s.state_dict().items() if k != "_global_step"} for s in whole.param_schedulers]
    assert values == [{k: v for k, v in s.state_dict().items() if k != "_global_step"} for s in parts.param_schedulers]


def test_a_plateau_is_resumed_as_mmengine_resumes_it(tmp_path: Path) -> None:
    """MMEngine saves before it validates, so a resumed run has not seen the last validation."""
    models = []
    for i, (first, then) in enumerate([(False, False), (False, True), (True, True)]):
        stopped(tmp_path / str(i), adamw(first), param_scheduler=PLATEAU, **VALIDATION)
        runner = trained(tmp_path / str(i), 4, adamw(then), param_scheduler=PLATEAU, resume=True, **VALIDATION)
        assert runner.param_schedulers[0].min_values == [1e-3] * len(runner.optim_wrapper.param_groups)
        models.append(runner.model)
    assert same(models[0], models[1])
    assert same(models[0], models[2])


def test_a_flexible_runner_resumes_what_mmengines_constructor_started(tmp_path: Path) -> None:
    def flexible(work_dir: Path, ours: bool, **more: Any) -> FlexibleRunner:
        options = settings(work_dir, 4, adamw(ours), param_scheduler=WARM_UP, **more)
        del options["randomness"]
        strategy = {"type": "SingleDeviceStrategy", "env_kwargs": {"randomness": {"seed": 0}}}
        runner = FlexibleRunner(**options, strategy=strategy)
        with contextlib.suppress(StoppedError):
            runner.train()
        return runner

    whole = flexible(tmp_path / "whole", ours=True)
    assert flexible(tmp_path / "parts", ours=False, custom_hooks=[StopHook()]).epoch == 2
    assert same(whole.model, flexible(tmp_path / "parts", ours=True, resume=True).model)


def test_one_group_of_mmengines_resumes_as_several_of_ours(tmp_path: Path) -> None:
    """Without a paramwise_cfg MMEngine's constructor makes one group, and keeps no base LR beside it."""
    rules = {"rules": [{"type": "match", "table": {"head": {"eps": 1e-8}, "norm": {"eps": 1e-8, "amsgrad": False}}}]}
    whole = trained(tmp_path / "whole", 4, adamw(classic=rules), param_scheduler=WARM_UP)
    stopped(tmp_path / "parts", adamw(ours=False, classic={}), param_scheduler=WARM_UP)
    parts = trained(tmp_path / "parts", 4, adamw(classic=rules), param_scheduler=WARM_UP, resume=True)
    assert same(whole.model, parts.model)


def test_a_changed_config_is_a_warning_and_the_checkpoints_options_count(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4, adamw(), param_scheduler=WARM_UP)
    stopped(tmp_path / "parts", adamw(), param_scheduler=WARM_UP)
    changed = adamw()
    changed["optimizer"]["lr"] = 0.04
    with pytest.warns(OptimBuildWarning, match=r"the options of the save count.*lr of"):
        parts = trained(tmp_path / "parts", 4, changed, param_scheduler=WARM_UP, resume=True)
    assert same(whole.model, parts.model)


def test_state_that_would_be_lost_is_an_error(tmp_path: Path) -> None:
    trained(tmp_path, 1, adamw())
    with pytest.raises(CheckpointError, match=r"saved, but not in the optimizer: .*head\.weight \(frozen now\)"):
        trained(tmp_path, 2, adamw(classic={"rules": [{"type": "freeze", "patterns": ["head"]}]}), resume=True)


def test_a_runner_that_froze_something_resumes_where_its_config_says_so(tmp_path: Path) -> None:
    """The message names the key, and the key works: for what was frozen since, and for what was unfrozen since."""
    frozen = [{"type": "freeze", "patterns": ["head"]}]
    resume = {"missing": "init", "unexpected": "ignore"}
    key = r"paramwise_cfg=dict\(resume=dict\(missing='init', unexpected='ignore'\)\)"
    trained(tmp_path / "frozen since", 1, adamw(classic={}))
    with pytest.raises(CheckpointError, match=key):
        trained(tmp_path / "frozen since", 2, adamw(classic={"rules": frozen}), resume=True)
    runner = trained(
        tmp_path / "frozen since", 2, adamw(classic={"rules": frozen, "resume": {"unexpected": "ignore"}}), resume=True
    )
    assert runner.epoch == 2
    assert not any(name.startswith("head") for name in names_in(runner))
    trained(tmp_path / "unfrozen since", 1, adamw(classic={"rules": frozen}))
    with pytest.raises(CheckpointError, match="parameters without saved state: head"):
        trained(tmp_path / "unfrozen since", 2, adamw(classic={}), resume=True)
    runner = trained(tmp_path / "unfrozen since", 2, adamw(classic={"resume": resume}), resume=True)
    assert runner.epoch == 2
    assert any(name.startswith("head") for name in names_in(runner))


def names_in(runner: Runner) -> list[str]:
    return [name for group in runner.optim_wrapper.param_groups for name in group["param_names"]]


def test_runners_of_mmengines_constructor_resume_as_ever(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4, adamw(ours=False), param_scheduler=WARM_UP)
    stopped(tmp_path / "parts", adamw(ours=False), param_scheduler=WARM_UP)
    assert same(
        whole.model, trained(tmp_path / "parts", 4, adamw(ours=False), param_scheduler=WARM_UP, resume=True).model
    )


def test_setting_up_twice_changes_nothing() -> None:
    before = (Runner.save_checkpoint, FlexibleRunner.save_checkpoint, OneCycleLR.load_state_dict)
    checkpoints.save_shards()
    checkpoints.resume_schedules()
    assert (Runner.save_checkpoint, FlexibleRunner.save_checkpoint, OneCycleLR.load_state_dict) == before


# --- loading ---------------------------------------------------------------------------------


def test_mmengines_checkpoints_load_once_the_integration_is_imported(tmp_path: Path) -> None:
    trained(tmp_path, 1, adamw(ours=False), param_scheduler=ONE_CYCLE)
    load = f"import torch; torch.load({str(tmp_path / 'epoch_1.pth')!r}, weights_only=True)"
    alone = subprocess.run(
        [sys.executable, "-c", load], check=False, timeout=60, cwd=ROOT, capture_output=True, text=True
    )
    assert "UnpicklingError" in alone.stderr
    torch.load(tmp_path / "epoch_1.pth", weights_only=True)


def round_trip(value: Any, path: Path) -> Any:
    torch.save(value, path)
    return torch.load(path, weights_only=True)


def test_log_buffers_keep_their_numbers_and_their_methods(tmp_path: Path) -> None:
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    loaded = round_trip({"buffer": buffer}, tmp_path / "buffer.pth")["buffer"]
    assert loaded.data[0].tolist() == [1.0, 3.0]
    assert loaded.statistics("mean") == 2.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "bool"])
def test_arrays_of_plain_numbers_load(dtype: str, tmp_path: Path) -> None:
    array = np.array([0, 1], dtype=dtype)
    loaded = round_trip({"array": array, "scalar": array[1]}, tmp_path / "array.pth")
    assert loaded["array"].tolist() == array.tolist()
    assert loaded["scalar"] == array[1]


class Attack:
    """What a hostile file holds: a call that its reader makes."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize(
    "attack",
    [
        Attack(eval, "1 + 1"),
        Attack(getattr, HistoryBuffer, "__init__"),
        Attack(getattr, HistoryBuffer, "__subclasses__"),
        Attack(getattr, np.ndarray, "tofile"),
        Attack(getattr, [], "append"),
        Attack(print, "ran"),
    ],
    ids=lambda attack: f"{attack.call.__name__}-{attack.arguments[-1]}",
)
def test_nothing_else_loads(attack: Attack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": attack}, tmp_path / "attack.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "attack.pth", weights_only=True)
    assert capsys.readouterr().out == ""


def test_checkpoints_without_optimizer_state_are_saved_as_ever(tmp_path: Path) -> None:
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_optimizer": False}}
    trained(tmp_path, 1, adamw(classic=CLASSIC), default_hooks=hooks)
    assert "optimizer" not in torch.load(tmp_path / "epoch_1.pth", weights_only=True)
