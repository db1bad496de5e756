"""What equal groups cost is measured on copies, on request."""

from __future__ import annotations

import pytest
import torch

from optimbuild import ModelError, build_optimizer
from optimbuild.auditing import step_cost as measured
from optimbuild.auditing.step_cost import step_cost
from tests.auditing.planted import adamw, group_per_tensor
from tests.auditing.test_findings import state
from tests.models import CONFIG, Net


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SECONDS", 0.01)


def test_a_measurement_leaves_optimizer_and_model_as_they_were() -> None:
    model = Net()
    for optimizer in (group_per_tensor()[0], build_optimizer(CONFIG, model)):
        before = state(optimizer, model)
        cost = step_cost(optimizer)
        assert cost.now > 0
        assert cost.merged > 0
        assert state(optimizer, model) == before


def test_equal_groups_are_merged_and_others_are_not() -> None:
    optimizer, _ = group_per_tensor()
    merged = measured._merged(optimizer.param_groups)
    assert [len(group["params"]) for group in merged] == [22, 11]
    assert len(optimizer.param_groups) == 33


def test_several_optimizers_at_once_are_not_measured() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ModelError, match="one optimizer is measured at a time, and there are 2"):
        step_cost([adamw([weight]), adamw([weight])])
