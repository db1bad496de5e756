"""Optimizers of torch, of packages and of one's own have plans that can be read again and explained."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import Plan, audit

NAMES = {
    "torch.LBFGS": ("torch.optim", "LBFGS"),
    "torch.Adafactor": ("torch.optim", "Adafactor"),
    "torch.ASGD": ("torch.optim", "ASGD"),
    "sgd": ("torch.optim", "SGD"),
    "lion_pytorch.Lion": ("lion_pytorch", "Lion"),
    "schedulefree.AdamWScheduleFree": ("schedulefree", "AdamWScheduleFree"),
    "prodigyopt.Prodigy": ("prodigyopt", "Prodigy"),
    "pytorch_optimizer.AdaBelief": ("pytorch_optimizer", "AdaBelief"),
}


class Mine(torch.optim.Optimizer):
    """An optimizer with options that no config can say."""

    def __init__(self, params: Any, lr: float = 0.1, shape: Any = print) -> None:
        super().__init__(params, {"lr": lr, "shape": shape, "limit": float("inf")})

    def step(self, closure: Any = None) -> None: ...


class AdamW(torch.optim.AdamW):
    """Another class under a name that is taken."""


def check(cls: Any) -> str:
    model = nn.Linear(4, 4, bias=False)
    found = audit(cls(model.parameters()), model)
    assert Plan.from_json(found.plan.to_json()).fingerprint == found.plan.fingerprint
    assert str(found.plan.groups[0].optimizer) in str(found)
    assert str(found.infer().difference) == "no difference"
    return str(found.plan["weight"].optimizer)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_has_the_name_that_a_config_would_say(name: str) -> None:
    module, cls = NAMES[name]
    pytest.importorskip(module)
    assert check(getattr(importlib.import_module(module), cls)) == name


def test_a_class_of_ones_own_is_read_under_its_own_name() -> None:
    assert check(Mine) == "Mine"
    assert check(AdamW).endswith(":AdamW")
