"""Options of groups: which differences are a change of the plan, and which options a save restores."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from optimbuild import CheckpointError, OptimBuildWarning
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.checkpoint.group_options import options_of
from tests.checkpoint.training import SGD, built, net, resumed, train, trained


def altered(**options: Any) -> dict[str, Any]:
    """Return a state whose options are altered, as if another plan had made them."""
    state = optimizer_state(trained(SGD, steps=1)[1])
    for found in state["params"].values():
        found |= options
    return state | {"fingerprint": "another"}


def test_an_option_that_a_newer_torch_added_is_no_change() -> None:
    state = altered()
    for found in state["params"].values():
        del found["maximize"]
    assert not load_optimizer_state(built(SGD)[1], state).changes


def test_the_lr_in_the_middle_of_a_schedule_is_no_change_of_the_plan() -> None:
    assert not load_optimizer_state(built(SGD)[1], altered(lr=0.004, initial_lr=0.01)).changes
    report = load_optimizer_state(built(SGD)[1], altered(lr=0.004, initial_lr=0.02))
    assert "lr of 25 parameters: 0.02 → 0.01: " in str(report)


def test_how_a_step_is_computed_is_never_taken_from_a_save() -> None:
    optimizer = built(SGD)[1]
    load_optimizer_state(optimizer, altered(fused=False, foreach=True), options="checkpoint")
    assert all(group["fused"] and not group["foreach"] for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("option", "value"),
    [("lr", "fast"), ("lr", float("nan")), ("lr", True), ("momentum", float("inf")), ("nesterov", 1), ("lr", None)],
)
def test_an_option_of_another_type_is_refused(option: str, value: Any) -> None:
    optimizer = built(SGD)[1]
    before = copy.deepcopy(optimizer.param_groups[0][option])
    with pytest.raises(CheckpointError, match=f"{option} was saved as .* for pos_embed, and is .* here"):
        load_optimizer_state(optimizer, altered(**{option: value}), options="checkpoint")
    assert optimizer.param_groups[0][option] == before
    assert not optimizer.state


def test_only_plain_values_are_options_that_can_be_saved() -> None:
    group = {"params": [], "lr": torch.tensor(0.5), "betas": [0.9, torch.tensor(0.5)], "hook": print, "tag": "a"}
    assert options_of(group) == {"lr": 0.5, "betas": (0.9, 0.5), "tag": "a"}


def test_the_value_that_a_scheduler_started_from_is_restored() -> None:
    optimizer = built(SGD)[1]
    load_optimizer_state(optimizer, altered(initial_lr=0.3, max_lr=0.5, lr_scale=2.0), options="checkpoint")
    assert {(group["initial_lr"], group["max_lr"]) for group in optimizer.param_groups} == {(0.3, 0.5)}
    assert not any("lr_scale" in group for group in optimizer.param_groups)


def test_numbers_of_numpy_are_options_as_any_others() -> None:
    model = net()
    betas = (np.float64(0.5), np.float64(0.25))
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=np.float32(0.5), betas=betas)
    saved = optimizer_state(optimizer)["params"]["head.bias"]
    assert (saved["lr"], saved["betas"]) == (0.5, (0.5, 0.25))
    fresh = torch.optim.AdamW(model.named_parameters())
    load_optimizer_state(fresh, optimizer.state_dict(), options="checkpoint")
    assert fresh.param_groups[0]["lr"] == 0.5


CYCLES: dict[str, Any] = {
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 10},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
}


@pytest.mark.parametrize("schedule", CYCLES)
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_what_a_cyclic_schedule_moves_is_no_change(schedule: str, kind: str) -> None:
    config = {"optimizer": {"type": kind, "lr": 0.1, "weight_decay": 0.05}}
    whole, optimizer = trained(config, steps=1)
    scheduler = getattr(torch.optim.lr_scheduler, schedule)(optimizer, **CYCLES[schedule])
    for number in range(1, 4):
        train(whole, optimizer, range(number, number + 1))
        scheduler.step()
    _, fresh = resumed(whole, config)
    fresh.load_state_dict(optimizer.state_dict())  # a warning would be an error
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in optimizer.param_groups]
    _, other = resumed(whole, {"optimizer": {**config["optimizer"], "weight_decay": 0.1}})
    changes = load_optimizer_state(other, optimizer.state_dict()).changes.changed
    assert {key for found in changes.values() for key in found} == {"weight_decay"}


def test_an_option_that_decides_what_is_kept_stays_and_is_said_to() -> None:
    config = {"optimizer": {"type": "AdamW", "lr": 0.1, "amsgrad": True}, "resume": {"unexpected": "ignore"}}
    whole, optimizer = trained(config)
    _, fresh = resumed(whole, {**config, "optimizer": {**config["optimizer"], "amsgrad": False}})
    with pytest.warns(OptimBuildWarning, match=r"save count, but for amsgrad: the state was matched to the config's"):
        fresh.load_state_dict(optimizer.state_dict())
    assert not fresh.param_groups[0]["amsgrad"]
    report = load_optimizer_state(fresh, optimizer.state_dict(), options="checkpoint", unexpected="ignore")
    assert "the options of the checkpoint count, but for amsgrad" in str(report)
