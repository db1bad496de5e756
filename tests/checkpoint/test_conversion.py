"""Loaded values lie in memory as the optimizer needs them, and numbers stay exact."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.checkpoint.conversion import converted
from optimbuild.checkpoint.state_entries import StateEntry

CONFIG = {"optimizer": {"type": "adamw", "lr": 0.1}}
STEP = StateEntry("scalar", torch.float32, torch.device("cpu"))


def test_state_of_another_memory_layout_is_brought_into_the_parameters() -> None:
    """A fused kernel walks through both side by side: with other strides it would silently compute nonsense."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    gradient = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(CONFIG, conv)
    assert optimizer.param_groups[0]["fused"]

    def step(module: nn.Conv2d, optimizer: torch.optim.Optimizer) -> None:
        module.weight.grad = gradient.clone(memory_format=torch.preserve_format)
        module.bias.grad = torch.ones(4)  # type: ignore[union-attr]
        optimizer.step()

    step(conv, optimizer)
    again = copy.deepcopy(conv)
    fresh = build_optimizer(CONFIG, again)
    state = optimizer_state(optimizer)
    for found in state["state"].values():
        found |= {key: value.contiguous() for key, value in found.items()}
    load_optimizer_state(fresh, state)
    step(conv, optimizer)
    step(again, fresh)
    assert torch.equal(again.weight, conv.weight)
    assert fresh.state[again.weight]["exp_avg"].stride() == again.weight.stride()


def test_a_view_of_a_larger_storage_is_copied() -> None:
    flat = torch.arange(12.0)
    weight = nn.Parameter(torch.zeros(2, 3))
    value = converted(flat[:6].view(2, 3), StateEntry("like", torch.float32, torch.device("cpu")), weight)
    value.zero_()
    assert flat.sum() == 66


@pytest.mark.parametrize(
    "saved", [7, 7.0, torch.tensor(7), torch.tensor(7.0, dtype=torch.float64), torch.tensor([7.0])]
)
def test_a_step_count_of_any_type_becomes_the_one_that_the_optimizer_keeps(saved: object) -> None:
    value = converted(saved, STEP, nn.Parameter(torch.zeros(2)))
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert value == 7


def test_a_step_count_that_would_change_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"16777217 was saved.*torch\.float32 cannot hold"):
        converted(2**24 + 1, STEP, nn.Parameter(torch.zeros(2)))


def test_a_number_stays_a_number() -> None:
    assert converted(torch.tensor(3), StateEntry("number"), nn.Parameter(torch.zeros(2))) == 3
    assert type(converted(3, StateEntry("number"), nn.Parameter(torch.zeros(2)))) is int


def test_float64_training_keeps_its_float64_state() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        linear = nn.Linear(2, 2)
        optimizer = build_optimizer({**CONFIG, "implementation": "for-loop"}, linear)
        linear(torch.ones(2)).sum().backward()
        optimizer.step()
        fresh = build_optimizer({**CONFIG, "implementation": "for-loop"}, linear)
        load_optimizer_state(fresh, optimizer_state(optimizer))
        assert {value.dtype for found in fresh.state.values() for value in found.values()} == {torch.float64}
    finally:
        torch.set_default_dtype(before)
