"""Errors name every mismatch at once, with names, and say what to do about it."""

from __future__ import annotations

import pytest
import torch

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from tests.checkpoint.training import CONFIG, SGD, net, resumed, trained
from tests.models import Net


def test_missing_unexpected_and_wrong_shapes_are_in_one_error() -> None:
    _, optimizer = trained()
    state = optimizer_state(optimizer)
    for table in (state["state"], state["params"]):
        table["old.weight"] = table.pop("norm.weight")
    state["state"]["head.weight"]["exp_avg_sq"] = torch.zeros(4, 8)
    _, fresh = trained(steps=0)
    with pytest.raises(CheckpointError) as caught:
        load_optimizer_state(fresh, state)
    message = str(caught.value)
    assert "1 parameter without saved state: norm.weight (missing='init' starts them afresh)" in message
    assert "1 parameter saved, but not in the optimizer: old.weight (unexpected='ignore' leaves that out)" in message
    assert "1 value of another shape or dtype: head.weight (exp_avg_sq): (4, 8) saved, (4, 9) here" in message


def test_the_first_twenty_names_are_listed_and_the_others_counted() -> None:
    _, optimizer = trained()
    deep = Net(depth=9, width=9)
    fresh = build_optimizer(CONFIG, deep)
    with pytest.raises(CheckpointError) as caught:
        load_optimizer_state(fresh, optimizer_state(optimizer))
    names = [name for name, _ in deep.named_parameters() if any(f"blocks.{i}." in name for i in range(2, 9))]
    message = str(caught.value)
    assert sum(name in message for name in names) == 20
    assert f"{len(names)} parameters without saved state" in message
    assert f"and {len(names) - 20} more" in message


def test_the_state_of_another_optimizer_is_refused() -> None:
    whole, optimizer = trained()
    _, fresh = resumed(whole, SGD)
    with pytest.raises(CheckpointError, match="25 parameters saved without momentum_buffer: pos_embed, ") as caught:
        load_optimizer_state(fresh, optimizer_state(optimizer))
    assert "25 parameters saved with step, exp_avg, exp_avg_sq, which it does not keep: pos_embed" in str(caught.value)
    report = load_optimizer_state(fresh, optimizer_state(optimizer), missing="init", unexpected="ignore")
    assert not report.loaded
    assert not fresh.state


def test_state_that_an_option_of_today_needs_and_the_save_lacks_is_missing() -> None:
    """With amsgrad on, torch would fail in the middle of the next step."""
    whole, optimizer = trained()
    config = {**CONFIG, "optimizer": {**CONFIG["optimizer"], "amsgrad": True}}
    _, fresh = resumed(whole, config)
    with pytest.raises(CheckpointError, match="25 parameters saved without max_exp_avg_sq"):
        load_optimizer_state(fresh, optimizer_state(optimizer))


def test_state_that_no_option_of_today_needs_is_unexpected() -> None:
    config = {**CONFIG, "optimizer": {**CONFIG["optimizer"], "amsgrad": True}}
    whole, optimizer = trained(config)
    _, fresh = resumed(whole)
    with pytest.raises(CheckpointError, match="25 parameters saved with max_exp_avg_sq, which it does not keep"):
        load_optimizer_state(fresh, optimizer_state(optimizer))
    load_optimizer_state(fresh, optimizer_state(optimizer), unexpected="ignore")
    assert all(set(found) == {"step", "exp_avg", "exp_avg_sq"} for found in fresh.state.values())


def test_another_dtype_is_refused_and_not_cast() -> None:
    whole, optimizer = trained()
    fresh = build_optimizer(CONFIG, net().to(torch.bfloat16))
    with pytest.raises(CheckpointError, match=r"\(exp_avg\): float32 saved, bfloat16 here"):
        load_optimizer_state(fresh, optimizer_state(optimizer))
    del whole


def test_what_is_neither_tensor_nor_number_is_refused() -> None:
    _, optimizer = trained()
    state = optimizer_state(optimizer)
    state["state"]["head.bias"]["exp_avg"] = 3
    state["state"]["head.weight"]["exp_avg"] = [1]
    state["state"]["norm.bias"]["step"] = torch.zeros(2)
    _, fresh = trained(steps=0)
    with pytest.raises(CheckpointError) as caught:
        load_optimizer_state(fresh, state)
    assert "head.bias (exp_avg): the number 3 saved, a tensor of shape (4,) here" in str(caught.value)
    assert "head.weight (exp_avg): [1] saved, which is neither tensor nor number" in str(caught.value)
    assert "norm.bias (step): (2,) saved, a single number here" in str(caught.value)


@pytest.mark.parametrize("count", [-1, torch.tensor(-1.0)])
def test_a_count_of_steps_below_zero_is_refused(count: object) -> None:
    _, optimizer = trained()
    state = optimizer_state(optimizer)
    state["state"]["head.weight"]["step"] = count
    _, fresh = trained(steps=0)
    with pytest.raises(CheckpointError, match=r"head.weight \(step\): -1.* steps saved"):
        load_optimizer_state(fresh, state)
