"""Fused SGD steps where only some parameters have momentum, with the result of the other implementations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from optimbuild import CheckpointError
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from tests.checkpoint.training import PROBING, SGD, resumed, same, train, trained, weights

FROZEN = {"type": "freeze", "patterns": ["blocks.0"]}
DAMPENED = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "nesterov": False, "dampening": 0.5}


@pytest.mark.parametrize("config", [SGD, PROBING], ids=["sgd", "probing"])
def test_unfrozen_parameters_start_afresh_beside_others_that_go_on(config: dict[str, Any]) -> None:
    """Torch's fused kernel by itself fails here, in the middle of the step."""
    results = []
    for implementation in ("fused", "for-loop"):
        rules = config.get("rules", [])
        whole, optimizer = trained({**config, "implementation": implementation, "rules": [*rules, FROZEN]})
        again, fresh = resumed(whole, {**config, "implementation": implementation})
        load_optimizer_state(fresh, optimizer_state(optimizer), missing="init")
        train(again, fresh, range(5, 8))
        results.append(weights(again))
    for name, fused in results[0].items():
        torch.testing.assert_close(fused, results[1][name])


def test_zero_momentum_gives_the_first_step_that_no_momentum_gives() -> None:
    model, optimizer = trained(SGD, steps=0)
    zeros = {name: {"momentum_buffer": torch.zeros_like(tensor)} for name, tensor in model.named_parameters()}
    again, fresh = resumed(model, SGD)
    load_optimizer_state(fresh, optimizer_state(optimizer) | {"state": zeros})
    train(model, optimizer, range(3))
    train(again, fresh, range(3))
    assert same(weights(again), weights(model))


def test_a_parameter_that_was_never_stepped_resumes_by_load_state_dict() -> None:
    config = {**SGD, "implementation": "fused"}
    whole, optimizer = trained(config, steps=0)
    whole.head.weight.square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    again, fresh = resumed(whole, config)
    fresh.load_state_dict(optimizer.state_dict())
    train(again, fresh, range(3))
    train(whole, optimizer, range(3))
    assert same(weights(again), weights(whole))


def test_fused_sgd_with_dampening_cannot_start_parameters_afresh() -> None:
    # a config refuses the fused kernel with dampening, so this is an optimizer of somebody else
    whole, optimizer = trained({"optimizer": DAMPENED, "rules": [FROZEN]})
    named = list(whole.requires_grad_(True).named_parameters())
    fresh = torch.optim.SGD(named, lr=0.01, momentum=0.9, dampening=0.5, fused=True)
    with pytest.raises(CheckpointError, match=r"dampening.*blocks\.0\.norm\.weight.*`implementation: foreach`"):
        load_optimizer_state(fresh, optimizer_state(optimizer), missing="init")
    assert not fresh.state
