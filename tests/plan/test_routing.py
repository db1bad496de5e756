"""Routing to optimizers that cannot be one of several, and to some that train nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ConfigError, build_optimizer, make_plan, optimizer
from optimbuild.registry.optimizer_type import Options

ADAMW = {"type": "adamw", "lr": 1e-3}


class Searching(torch.optim.SGD):
    """Calls the closure, and does not say so in its signature."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = torch.enable_grad()(closure)()
        super().step()
        return loss


class SearchingOptions(Options):
    """Declared, so that planning asks no class."""

    lr: float = 0.1
    """The learning rate."""


def model() -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 2)})


def config(to: str) -> dict[str, Any]:
    return {"optimizer": ADAMW, "rules": [{"type": "route", "to": to, "patterns": ["head"]}]}


@pytest.mark.parametrize("name", ["test_searching", "LBFGS", "schedulefree.SGDScheduleFreeClosure"])
def test_what_needs_a_closure_is_planned_alone_and_not_as_one_of_several(name):
    optimizer("test_searching", Searching, force=True)
    with pytest.raises(ConfigError, match=rf"^rules\[0\]: {name} calls the closure itself.*Route nothing to it"):
        make_plan(config(name), model())
    assert make_plan({"optimizer": {"type": name}}, model()).groups[0].optimizer == name


def test_with_declared_options_what_needs_a_closure_is_refused_when_built():
    optimizer("test_declared", Searching, options=SearchingOptions, force=True)
    make_plan(config("test_declared"), model())
    with pytest.raises(ConfigError, match=r"test_declared calls the closure itself"):
        build_optimizer(config("test_declared"), model())


def test_an_idle_optimizer_is_explained_whatever_the_case_of_its_name():
    rules = [*config("Slow")["rules"], {"type": "freeze", "patterns": ["head"]}]
    several = {"optimizer": ADAMW, "optimizers": {"slow": {"type": "sgd", "lr": 0.1}}, "rules": rules}
    with pytest.raises(ConfigError, match=r"^optimizers.slow: trains no parameter: what rules\[0\] \(route\) routes"):
        make_plan(several, model())
