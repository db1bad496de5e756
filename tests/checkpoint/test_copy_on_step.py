"""Loaded tensors are not copied, but before the step where somebody else still holds them."""

from __future__ import annotations

import torch

from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from tests.checkpoint.training import resumed, same, train, trained


def test_loading_takes_tensors_over_without_copying_them() -> None:
    whole, optimizer = trained()
    state = optimizer_state(optimizer)
    model, fresh = resumed(whole)
    load_optimizer_state(fresh, state)
    assert fresh.state[model.head.weight]["exp_avg"] is state["state"]["head.weight"]["exp_avg"]


def test_a_state_that_is_kept_is_not_changed_by_the_steps_that_follow() -> None:
    whole, optimizer = trained()
    state = optimizer_state(optimizer)
    before = optimizer_state(optimizer)
    model, fresh = resumed(whole)
    load_optimizer_state(fresh, state)
    train(model, fresh, range(5, 7))
    assert same(state, before)


def test_a_state_that_is_dropped_is_not_copied() -> None:
    whole, optimizer = trained()
    state = optimizer_state(optimizer)
    address = state["state"]["head.weight"]["exp_avg"].data_ptr()
    model, fresh = resumed(whole)
    load_optimizer_state(fresh, state)
    del state
    train(model, fresh, range(5, 7))
    assert fresh.state[model.head.weight]["exp_avg"].data_ptr() == address


def test_torchs_state_dict_of_a_living_optimizer_is_not_shared_with_it() -> None:
    whole, optimizer = trained()
    model, fresh = resumed(whole)
    fresh.load_state_dict(optimizer.state_dict())
    train(model, fresh, range(5, 6))
    steps = {float(found["step"]) for found in optimizer.state.values()}
    assert steps == {5.0}
    assert {float(found["step"]) for found in fresh.state.values()} == {6.0}


def test_loading_again_and_again_adds_one_hook_only() -> None:
    whole, optimizer = trained()
    model, fresh = resumed(whole)
    for _ in range(3):
        load_optimizer_state(fresh, optimizer_state(optimizer))
    train(model, fresh, range(5, 6))
    kept = optimizer_state(optimizer)
    load_optimizer_state(fresh, kept)
    before = kept["state"]["head.bias"]["exp_avg"].clone()
    train(model, fresh, range(5, 7))
    assert torch.equal(kept["state"]["head.bias"]["exp_avg"], before)
    hooks = [type(hook).__name__ for hook in fresh._optimizer_step_pre_hooks.values()]
    assert hooks.count("_CopyBeforeStep") == 1
