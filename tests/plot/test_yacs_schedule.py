"""The schedule of a yacs config is timm's, made from the published keys."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan
from optimbuild.plot import schedule_of_config

MODEL = Inventory([ParamInfo("stem.weight", (4, 4)), ParamInfo("head.weight", (4, 4))])
TRAIN: dict[str, Any] = {"BASE_LR": 1e-3, "EPOCHS": 6, "WARMUP_EPOCHS": 2, "WARMUP_LR": "1e-7", "MIN_LR": 1e-5}
STEP = {"NAME": "step", "DECAY_EPOCHS": 3, "DECAY_RATE": 0.5}
STEPS = 12


@pytest.fixture(scope="module")
def plan() -> Plan:
    rules = [{"type": "match", "table": {"stem": {"lr_mult": 0.1}}}]
    return make_plan({"optimizer": {"type": "adamw", "lr": 1e-3}, "rules": rules}, MODEL)


def written(folder: Path, **train: Any) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({"TRAIN": {**TRAIN, **train}}))
    return str(path)


@pytest.mark.parametrize("settings", [{}, {"LR_SCHEDULER": STEP}], ids=["cosine", "step"])
def test_the_lr_is_that_of_timms_scheduler_after_each_step(settings: Any, plan: Plan, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own modules that timm imports
        schedulers = pytest.importorskip("timm.scheduler")
    groups = [{"params": [torch.zeros(1)], "lr": group.options["lr"]} for group in plan.groups]
    optimizer = torch.optim.SGD(groups)
    common = {"warmup_t": 4, "warmup_lr_init": 1e-7, "t_in_epochs": False}
    if settings:
        scheduler = schedulers.StepLRScheduler(optimizer, decay_t=6, decay_rate=0.5, **common)
    else:
        scheduler = schedulers.CosineLRScheduler(optimizer, t_initial=12, lr_min=1e-5, **common)
    lrs = []
    for step in range(STEPS):
        lrs.append([group["lr"] for group in optimizer.param_groups])
        scheduler.step_update(step)
    curves = schedule_of_config(written(tmp_path, **settings), STEPS).curves(plan)
    assert len(curves) == 2
    for label, found in curves.items():
        assert found == [each[int(label.split("group ")[1].split()[0])] for each in lrs]
    assert lrs[0] == [1e-7, 1e-7]


@pytest.mark.parametrize(
    ("train", "steps", "words"),
    [
        ({"LR_SCHEDULER": {"NAME": "linear"}}, 12, r"^TRAIN\.LR_SCHEDULER\.NAME: is the published projects' own class"),
        ({"LR_SCHEDULER": {"NAME": "cosin"}}, 12, "no schedule is called 'cosin'. Did you mean 'cosine'"),
        ({}, None, r"^TRAIN\.EPOCHS: counts 6 epochs; say with --steps"),
        ({}, 13, "of which 13 is no multiple"),
        ({"EPOCHS": 0}, 12, r"^TRAIN\.EPOCHS: "),
        ({"MIN_LR": "low"}, 12, r"^TRAIN\.MIN_LR: "),
    ],
)
def test_a_schedule_that_cannot_be_run_is_an_error(train: Any, steps: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        schedule_of_config(written(tmp_path, **train), steps)
