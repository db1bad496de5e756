"""State by name as one value: its content, that it loads safely, and that training does not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from optimbuild import CheckpointError
from optimbuild.checkpoint import optimizer_state
from tests.checkpoint.training import CONFIG, SGD, built, same, train, trained


def test_the_state_has_what_the_optimizer_keeps_by_parameter_name() -> None:
    model, optimizer = trained()
    state = optimizer_state(optimizer)
    assert set(state) == {"state", "params", "fingerprint", "version"}
    assert state["version"] == 1
    assert state["fingerprint"] == optimizer.plan.fingerprint  # type: ignore[attr-defined]
    names = [name for name, _ in model.named_parameters()]
    assert set(state["state"]) == set(state["params"]) == set(names)
    for name, tensor in model.named_parameters():
        assert same(state["state"][name], optimizer.state[tensor])
        assert state["params"][name]["lr"] == optimizer.plan[name].lr  # type: ignore[attr-defined]
        assert state["params"][name]["weight_decay"] == optimizer.plan[name].weight_decay  # type: ignore[attr-defined]


def test_only_tensors_are_kept_and_a_file_of_it_loads_with_weights_only(tmp_path: Path) -> None:
    for config in (CONFIG, SGD):
        state = optimizer_state(trained(config)[1])
        assert all(isinstance(value, torch.Tensor) for found in state["state"].values() for value in found.values())
        torch.save(state, tmp_path / "state.pt")
        assert same(torch.load(tmp_path / "state.pt", weights_only=True), state)


def test_training_on_does_not_change_a_state_that_was_taken() -> None:
    model, optimizer = trained()
    state = optimizer_state(optimizer)
    before = {name: found["exp_avg"].clone() for name, found in state["state"].items()}
    train(model, optimizer, range(5, 7))
    assert all(torch.equal(found["exp_avg"], before[name]) for name, found in state["state"].items())


def test_before_the_first_step_there_is_no_state_but_there_are_options() -> None:
    _, optimizer = built()
    state = optimizer_state(optimizer)
    assert state["state"] == {}
    assert state["params"]["head.weight"]["betas"] == (0.9, 0.999)


def test_a_parameter_that_never_had_a_gradient_has_no_state() -> None:
    model, optimizer = built()
    model.head.weight.square().sum().backward()
    optimizer.step()
    assert set(optimizer_state(optimizer)["state"]) == {"head.weight"}


def test_to_rank_means_nothing_where_nothing_is_sharded() -> None:
    _, optimizer = trained()
    assert same(optimizer_state(optimizer, to_rank=3), optimizer_state(optimizer))


def test_any_optimizer_whose_groups_have_names_can_be_saved() -> None:
    linear = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(linear.named_parameters(), lr=0.1)
    linear(torch.ones(2)).sum().backward()
    optimizer.step()
    state = optimizer_state(optimizer)
    assert set(state["state"]) == {"weight", "bias"}
    assert state["fingerprint"] == ""


def test_an_optimizer_without_names_is_told_how_to_get_them() -> None:
    optimizer = torch.optim.Adam(torch.nn.Linear(2, 2).parameters())
    with pytest.raises(CheckpointError, match=r"param_groups\[0\] does not name its 2 parameters.*named_parameters"):
        optimizer_state(optimizer)


def test_a_wrapper_is_no_optimizer() -> None:
    with pytest.raises(CheckpointError, match=r"needs a torch.optim.Optimizer, not .*`optimizer`"):
        optimizer_state(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_two_parameters_of_one_name_are_refused() -> None:
    linear = torch.nn.Linear(2, 2)
    groups = [{"params": [linear.weight, linear.bias], "param_names": ["a", "a"]}]
    with pytest.raises(CheckpointError, match="two parameters of the optimizer have the name 'a'"):
        optimizer_state(torch.optim.SGD(groups))


def test_state_without_a_name_or_of_no_tensor_is_refused() -> None:
    linear = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(linear.named_parameters())
    optimizer.state[linear.weight]["history"] = [torch.zeros(2)]
    with pytest.raises(CheckpointError, match="'history' of 'weight'"):
        optimizer_state(optimizer)
    del optimizer.state[linear.weight]
    optimizer.state["shared"] = {"count": 1}  # type: ignore[index]
    with pytest.raises(CheckpointError, match=r"belongs to no parameter.*'shared'"):
        optimizer_state(optimizer)
