"""Models that a recipe is not for."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from optimbuild import ConfigError, make_plan


def plan(model: nn.Module, **options: Any) -> Any:
    rule = {"type": "require", "without": ["BatchNorm"], "optional": True, **options}
    return make_plan({"optimizer": {"type": "sgd"}, "rules": [rule]}, model)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(2), nn.SyncBatchNorm(2), nn.BatchNorm1d(2, affine=False)])
def test_a_model_with_such_a_module_is_refused_with_the_reason(norm: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"for a model with BatchNorm, because it says so\. It has: 1") as caught:
        plan(nn.Sequential(nn.Linear(2, 2), norm), because="it says so")
    assert caught.value.path == "rules[0].without"


def test_any_other_model_is_planned_as_without_the_rule() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    assert plan(model).fingerprint == make_plan({"optimizer": {"type": "sgd"}}, model).fingerprint


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(2, affine=False), nn.InstanceNorm2d(2)])
def test_a_norm_without_parameters_is_refused_on_demand(norm: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 2), norm)
    with pytest.raises(ConfigError, match=r"norms without parameters \(affine=False\)\. It has: 1") as caught:
        plan(model, without=[], affine=["BatchNorm", "InstanceNorm"])
    assert caught.value.path == "rules[0].affine"
    assert plan(model, without=[], affine=["LayerNorm"])


def test_another_class_that_is_called_the_same_is_no_such_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), type("BatchNorm2d", (nn.PReLU,), {})())
    assert plan(model, affine=["BatchNorm"])


def test_a_rule_that_requires_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="needs `without`, `affine`, or both") as caught:
        plan(nn.Linear(2, 2), without=[])
    assert caught.value.path == "rules[0]"
