"""The LR over steps is that of a real optimizer under the same scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from optimbuild import ConfigError, Plan, build_optimizer, inventory, make_plan
from optimbuild.plot.config_schedule import schedule_of_config
from optimbuild.plot.schedules import TORCH, named_schedule
from tests.integrations.mmengine.project import Toy, loader, sgd, trained
from tests.models import CONFIG, Net

STEPS = 12


def group_of(label: str) -> int:
    return int(label.split("group ")[1].split()[0])


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(CONFIG, inventory(Net()))


@pytest.mark.parametrize("name", TORCH)
def test_a_named_schedule_is_torchs_on_the_groups_of_the_plan(name: str, plan: Plan) -> None:
    optimizer = build_optimizer({**CONFIG, "watch": False}, Net())
    scheduler = TORCH[name](optimizer, STEPS)
    lrs: list[list[float]] = []
    for step in range(STEPS):
        lrs.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        if step + 1 < STEPS:
            scheduler.step()
    curves = named_schedule(name, STEPS).curves(plan)
    assert [label.split(":")[0] for label in curves] == ["highest", "middle", "lowest"]
    for label, found in curves.items():
        assert found == [step[group_of(label)] for step in lrs]
    starts = [group.options["lr"] for group in plan.groups]
    assert [starts[group_of(label)] for label in curves][::2] == [max(starts), min(starts)]


RUNS: dict[str, Any] = {
    "by epoch": [{"type": "MultiStepLR", "milestones": [1, 3], "gamma": 0.5}],
    "converted": [
        {"type": "LinearLR", "start_factor": 0.1, "end": 2, "convert_to_iter_based": True},
        {"type": "CosineAnnealingLR", "begin": 2, "T_max": 2, "convert_to_iter_based": True},
        {"type": "CosineAnnealingMomentum", "T_max": 4},
    ],
    "by step": {"type": "PolyLR", "power": 0.9, "by_epoch": False},
    "one per group": {"type": "OneCycleLR", "eta_max": [], "total_steps": 8, "by_epoch": False},
}
"""Schedules of a run of four epochs of two steps."""


@pytest.mark.parametrize("name", RUNS)
def test_the_schedule_of_a_config_is_that_of_mmengines_runner(name: str, tmp_path: Path) -> None:
    plan = make_plan({"optim_wrapper": sgd()}, Toy())
    settings = RUNS[name]
    if name == "one per group":
        settings = {**settings, "eta_max": [0.1 * (i + 1) for i in range(len(plan.groups) + 1)]}
    lrs: list[list[float]] = []

    class Recorder(Toy):
        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            lrs.append([group["lr"] for group in optim_wrapper.optimizer.param_groups])
            return super().train_step(data, optim_wrapper)

    torch.manual_seed(0)
    trained(
        tmp_path, 4, sgd(), model=Recorder(), param_scheduler=settings, train_dataloader=loader(),
        default_hooks={"checkpoint": None},
    )  # fmt: skip
    config = {"param_scheduler": settings, "train_cfg": {"by_epoch": True, "max_epochs": 4}, "optim_wrapper": sgd()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for label, found in schedule_of_config(str(tmp_path / "config.json"), 8).curves(plan).items():
        assert found == [step[group_of(label)] for step in lrs], label


LINEAR = {"type": "LinearLR"}
EPOCHS = {"max_epochs": 4}
WRONG: list[tuple[dict[str, Any], int | None, str]] = [
    ({}, 8, "^param_scheduler: a config whose schedule can be drawn is one of MMEngine"),
    ({"param_scheduler": [LINEAR]}, None, "^train_cfg: has neither max_epochs nor max_iters; say with --steps"),
    ({"param_scheduler": [LINEAR], "train_cfg": EPOCHS}, None, "^train_cfg: counts 4 epochs; say with --steps"),
    ({"param_scheduler": [LINEAR], "train_cfg": EPOCHS}, 9, "of which 9 is no multiple"),
    ({"param_scheduler": [LINEAR], "train_cfg": {"max_iters": 1}}, None, "--steps must be a whole number from 2"),
    (
        {"param_scheduler": [{"type": "LinearRL"}]},
        8,
        r"^param_scheduler\[0\]\.type: no scheduler .* Did you mean 'LinearLR'",
    ),
    ({"param_scheduler": [{"type": "os.getcwd"}]}, 8, "no scheduler of MMEngine has the name 'os.getcwd'"),
    (
        {"param_scheduler": [{"type": "LinearLR", "star": 1}]},
        8,
        r"^param_scheduler\[0\]: MMEngine refuses it: TypeError",
    ),
    ({"param_scheduler": [{"type": "ReduceOnPlateauLR"}]}, 8, "depends on what a validation gives"),
    ({"param_scheduler": [{**LINEAR, "convert_to_iter_based": True}]}, 8, "the training counts none"),
    ({"param_scheduler": {"generator": [LINEAR]}}, 8, "has schedules for generator; choose one with --optimizer"),
]


@pytest.mark.parametrize(("config", "steps", "words"), WRONG, ids=[words[:40] for *_, words in WRONG])
def test_a_schedule_that_cannot_be_run_is_an_error(
    config: dict[str, Any], steps: int | None, words: str, plan: Plan, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"optim_wrapper": sgd(), **config}))
    with pytest.raises(ConfigError, match=words):
        schedule_of_config(str(tmp_path / "config.json"), steps).curves(plan)


def test_a_name_that_torch_has_not_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        named_schedule("cosin", 8)
