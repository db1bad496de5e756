"""Whatever holds an optimizer has its plan and its learning rates."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ModelError, build_optimizer, learning_rates, make_plan, plan_of
from optimbuild.build.learning_rates import rates_of
from tests.auditing.test_wrappers import WRAPPERS
from tests.models import CONFIG, Net


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_plan_is_found_through_every_wrapper(wrap: Any) -> None:
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the wrappers
        assert plan_of(wrap(model, optimizer)[0]) is optimizer.plan


def test_a_scheduler_has_the_plan_of_its_optimizer() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, wrapped = accelerate.Accelerator(cpu=True).prepare(optimizer, schedule)
    assert plan_of(schedule) is plan_of(wrapped) is optimizer.plan


def test_a_plan_is_its_own() -> None:
    plan = make_plan(CONFIG, Net())
    assert plan_of(plan) is plan


def test_what_has_no_plan_is_refused_with_what_gives_one() -> None:
    model = Net()
    with pytest.raises(ModelError, match=r"SGD was not built by optimbuild.*audit\(optimizer, model\)\.plan"):
        plan_of(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ModelError, match=r"not Net\(.*Trainers make theirs when training starts"):
        plan_of(model)
    lightning = pytest.importorskip("pytorch_lightning")
    with pytest.raises(ModelError, match="Trainers make theirs when training starts"):
        plan_of(lightning.LightningModule())


def test_one_of_several_optimizers_has_to_be_chosen() -> None:
    several = {"generator": built(), "critic": built()}
    with pytest.raises(ModelError, match="several optimizers, 'generator', 'critic', each with a plan"):
        plan_of(several)


# --- learning rates ---------------------------------------------------------------------------


def built(**table: float) -> Any:
    rule = {"type": "match", "table": {name: {"lr_mult": factor} for name, factor in table.items()}}
    config = {"optimizer": {"type": "sgd", "lr": 0.5}, "rules": [rule] if table else []}
    return build_optimizer(config, nn.Linear(2, 2))


def test_the_rates_follow_a_schedule_and_are_called_as_the_groups() -> None:
    optimizer = built(bias=0.25)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    schedule.step()
    rates = learning_rates(schedule)
    assert rates == (0.25, 0.0625, 0.25, {"weight": 0.25, "bias": 0.0625})
    assert rates.scalars("LR") == {"LR": 0.25, "LR/min": 0.0625, "LR/max": 0.25}


def test_the_base_rate_is_known_where_no_group_has_it() -> None:
    optimizer = built(weight=0.25, bias=0.5)
    for group in optimizer.param_groups:
        group["lr"] /= 2
    assert learning_rates(optimizer).base == 0.25


def test_an_optimizer_without_rates_has_none() -> None:
    assert rates_of(built().plan, [{"params": [], "name": "all"}]) is None
