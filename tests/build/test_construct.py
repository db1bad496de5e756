"""Construction: functions that make optimizers, and options that a class keeps for all of its groups."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ConfigError, build_optimizer, optimizer
from optimbuild.build.composite import CompositeOptimizer

ADAMW = {"type": "adamw", "lr": 1e-2}


def slow_sgd(params: Any, lr: float = 0.1, momentum: float = 0.5) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr, momentum=momentum)


class Powered(torch.optim.SGD):
    """Keeps an option for all of its groups."""

    def __init__(self, params: Any, lr: float = 0.1, power: float = 1.0) -> None:
        super().__init__(params, lr=lr)
        self.power = power


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))


def train(trained: nn.Module, *optimizers: Any) -> list[torch.Tensor]:
    for _ in range(3):
        trained.zero_grad()
        trained(torch.ones(2, 3)).square().sum().backward()
        for each in optimizers:
            each.step()
    return list(trained.parameters())


def test_a_function_that_makes_an_optimizer_can_be_one_of_several():
    optimizer("test_slow_sgd", f"{__name__}:slow_sgd", force=True)
    ours, expected = model(), model()
    rules = [{"type": "route", "to": "test_slow_sgd", "patterns": ["1"]}]
    built = build_optimizer({"optimizer": ADAMW, "rules": rules}, ours)
    assert isinstance(built, CompositeOptimizer)
    assert type(built.members["test_slow_sgd"]) is torch.optim.SGD
    first = torch.optim.AdamW(expected[0].parameters(), lr=1e-2, fused=True, weight_decay=0.01)
    second = torch.optim.SGD(expected[1].parameters(), lr=1e-2, momentum=0.5)
    pairs = zip(train(ours, built), train(expected, first, second), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    other, its_own = copy.deepcopy((ours, built))
    pairs = zip(train(other, its_own), train(ours, built), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_groups_cannot_differ_in_what_the_class_keeps_for_all_of_them():
    optimizer("test_powered", Powered, force=True)
    config: dict[str, Any] = {"optimizer": {"type": "test_powered", "lr": 0.1, "power": 2.0}}
    assert build_optimizer(config, model()).power == 2.0  # type: ignore[attr-defined]
    config["rules"] = [{"type": "match", "table": {"1": {"power": 3.0}}}]
    with pytest.raises(ConfigError, match=r"^optimizer: test_powered keeps power for all of its groups at once"):
        build_optimizer(config, model())
