"""The class of an optimizer shows what it keeps, for torch's classes and any other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state, resumable
from optimbuild.checkpoint.state_entries import StateEntry, expected_state

EVERY = (
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
)


def stepped(name: str, seed: int, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    optimizer = getattr(torch.optim, name)(model.named_parameters(), **options)
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    model(torch.randn(2, 3, 3, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer_of_torch_resumes_bit_for_bit(name: str) -> None:
    options = {"momentum": 0.9} if name == "SGD" else {}
    model, optimizer = stepped(name, 0, **options)
    for seed in range(3):
        step(model, optimizer, seed)
    again, fresh = stepped(name, 1, **options)
    again.load_state_dict(model.state_dict())
    assert expected_state(fresh, fresh.param_groups[0], again[0].weight) is not None  # type: ignore[arg-type]
    load_optimizer_state(fresh, optimizer_state(optimizer))
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(again, fresh, seed)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_options_that_decide_what_is_kept_are_those_of_the_group() -> None:
    linear = nn.Linear(2, 2)
    groups = [
        {"params": [linear.weight], "param_names": ["weight"], "momentum": 0.9},
        {"params": [linear.bias], "param_names": ["bias"]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with_momentum, without = (expected_state(optimizer, group, group["params"][0]) for group in optimizer.param_groups)
    assert with_momentum == {"momentum_buffer": StateEntry("like", torch.float32, torch.device("cpu"))}
    assert without == {}


class Closed(torch.optim.Optimizer):
    """An optimizer whose step needs a closure, and which keeps tensors of several shapes, and a number."""

    def __init__(self, params: Any, scales: Any = (1, 2)) -> None:
        super().__init__(params, {"scales": scales})

    def step(self, closure: Any) -> None:  # type: ignore[override]
        with torch.enable_grad():
            closure().backward()
        for group in self.param_groups:
            for tensor in group["params"]:
                self.state[tensor] = {
                    "like": tensor.detach().clone(),
                    "row": torch.ones(len(tensor)),
                    "mean": tensor.detach().mean(),
                    "calls": 1,
                }


def test_an_optimizer_that_cannot_be_probed_resumes_its_state() -> None:
    linear = nn.Linear(2, 3)
    optimizer = Closed(linear.named_parameters())
    assert expected_state(optimizer, optimizer.param_groups[0], linear.weight) is None
    optimizer.step(lambda: linear(torch.ones(2)).sum())
    fresh = Closed(linear.named_parameters())
    load_optimizer_state(fresh, optimizer_state(optimizer))
    for tensor in linear.parameters():
        kept = fresh.state[tensor]
        assert kept["calls"] == 1
        assert kept["mean"].shape == ()
        assert all(torch.equal(kept[key], optimizer.state[tensor][key]) for key in ("like", "row", "mean"))


def test_the_probe_runs_no_hook_on_the_steps_of_all_optimizers() -> None:
    seen: list[Any] = []
    handle = register_optimizer_step_pre_hook(lambda *args: seen.append(args))
    try:
        linear = nn.Linear(7, 7)
        optimizer = torch.optim.AdamW([linear.weight], betas=(0.5, 0.625))
        assert expected_state(optimizer, optimizer.param_groups[0], linear.weight)
    finally:
        handle.remove()
    assert not seen


def test_options_without_a_hash_do_no_harm() -> None:
    class Scaled(Closed):
        def step(self, closure: Any = None) -> None:
            super().step(closure or (lambda: self.param_groups[0]["params"][0].sum()))

    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = Scaled([weight], scales=[1, 2])
    with torch.enable_grad():
        found = expected_state(optimizer, optimizer.param_groups[0], weight)
    assert {key: entry.kind for key, entry in (found or {}).items()} == {
        "like": "like",
        "row": "other",
        "mean": "scalar",
        "calls": "number",
    }


def lbfgs(width: int = 3, steps: int = 0, **named: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    optimizer = build_optimizer({"optimizer": {"type": "LBFGS", "lr": 0.1, "max_iter": 3}, **named}, model)
    minimize(model, optimizer, steps)
    return model, optimizer


def minimize(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    batch = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found: torch.Tensor = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        found.backward()
        return found

    for _ in range(steps):
        optimizer.step(loss)  # type: ignore[arg-type]


@pytest.mark.parametrize("through", ["load_state_dict", "load_optimizer_state"])
def test_lists_of_tensors_resume_into_the_same_parameters(through: str) -> None:
    model, optimizer = lbfgs(steps=2)
    state = copy.deepcopy(optimizer.state_dict())
    untouched = copy.deepcopy(state)
    again, fresh = lbfgs()
    again.load_state_dict(model.state_dict())
    fresh.load_state_dict(state) if through == "load_state_dict" else load_optimizer_state(fresh, state)
    minimize(again, fresh, 2)
    minimize(model, optimizer, 2)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(state["state"][0]["old_dirs"], untouched["state"][0]["old_dirs"], strict=True):
        assert torch.equal(one, other)


def test_lists_of_tensors_are_refused_by_other_parameters_and_by_name() -> None:
    _, optimizer = lbfgs(steps=2)
    _, frozen = lbfgs(rules=[{"type": "freeze", "patterns": ["0"]}])
    with pytest.raises(CheckpointError, match=r"0\.weight"):
        frozen.load_state_dict(optimizer.state_dict())
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["param_names"].reverse()
    with pytest.raises(CheckpointError, match=r"\(old_dirs\): a list saved, which only the same parameters in"):
        lbfgs()[1].load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"can be saved by name\. What works is to save its state_dict\(\)"):
        optimizer_state(optimizer)


def test_an_optimizer_that_is_made_resumable_twice_loads_once() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.named_parameters())
    resumable(optimizer)
    resumable(optimizer)
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer_state(optimizer))
    assert optimizer.state[model.bias]["step"] == 1
