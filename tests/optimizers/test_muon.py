"""Muon, which torch has since release 2.9."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optimbuild import MissingPackageError, build_optimizer, make_plan
from optimbuild.registry import find_optimizer

CONFIG = {
    "optimizer": {"type": "muon", "lr": 0.02, "weight_decay": 0.01},
    "rules": [{"type": "freeze", "patterns": ["**.bias"]}],
}


def test_muon_is_planned_whatever_torch_is_installed() -> None:
    plan = make_plan(CONFIG, nn.Linear(4, 3))
    assert plan["weight"].options["momentum"] == 0.95
    assert plan.memory().largest.state == 48


def test_muon_is_built_where_torch_has_it_and_else_says_which_does() -> None:
    model = nn.Linear(4, 3)
    if not hasattr(torch.optim, "Muon"):
        with pytest.raises(MissingPackageError, match=r"torch does not have\. .*pip install 'torch>=2\.9'"):
            build_optimizer(CONFIG, model)
        return
    built = build_optimizer(CONFIG, model)
    assert isinstance(built, torch.optim.Muon)
    model.weight.grad = torch.ones(3, 4)
    built.step()
    ours, theirs = find_optimizer("muon"), find_optimizer("torch.Muon")
    assert ours.complete({}) == theirs.complete({})
