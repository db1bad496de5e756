"""Groups that are added later: what the plan says of them is in them."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from optimbuild import build_optimizer

SEVERAL = {
    "optimizers": {"slow": {"type": "sgd", "lr": 0.1}},
    "rules": [{"type": "route", "to": "slow", "patterns": ["0.bias"]}],
}


@pytest.mark.parametrize("more", [{"rules": []}, SEVERAL], ids=["one optimizer", "several"])
def test_a_group_that_is_added_has_the_marks_of_its_plan(more: Any) -> None:
    table = [{"pattern": "1.weight", "marks": {"my_mark": 3}}]
    rules = [*more["rules"], {"type": "match", "table": table}, {"type": "freeze", "patterns": ["1"]}]
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}, **more, "rules": rules}, model)
    optimizer.add_param_group({"params": list(model[1].requires_grad_(True).parameters())})
    marks = {name: group.get("my_mark") for group in optimizer.param_groups for name in group["param_names"]}
    assert marks == {"0.weight": None, "0.bias": None, "1.weight": 3, "1.bias": None}
