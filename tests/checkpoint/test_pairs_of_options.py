"""State of any options loads into an optimizer of any other options, or is a CheckpointError: never a broken step."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, resumable, save
from tests.checkpoint.training import step

CHOICES: dict[str, list[dict[str, Any]]] = {
    "ASGD": [{}, {"foreach": True}, {"foreach": False}, {"maximize": True}],
    "Adadelta": [{}, {"foreach": True}, {"foreach": False}],
    "Adafactor": [{}, {"foreach": False}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.5}, {"fused": True}, {"lr_decay": 0.1}],
    "Adam": [{}, {"amsgrad": True}, {"fused": True}, {"amsgrad": True, "fused": True}, {"foreach": True}],
    "AdamW": [{}, {"amsgrad": True}, {"fused": True}, {"lr": torch.tensor(0.1), "foreach": False}],
    "Adamax": [{}, {"foreach": True}],
    "NAdam": [{}, {"decoupled_weight_decay": True}, {"foreach": True}],
    "RAdam": [{}, {"decoupled_weight_decay": True}, {"foreach": True}],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True}, {"momentum": 0.9, "centered": True}],
    "Rprop": [{}, {"foreach": True}],
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.1},
        {"momentum": 0.9, "fused": True},
        {"fused": True},
        {"weight_decay": 0.1},
    ],
}
ALL = [(name, options) for name, choices in CHOICES.items() for options in choices]
PAIRS = [(name, one, other) for name, choices in CHOICES.items() for one, other in itertools.product(choices, repeat=2)]


def made(name: str, options: dict[str, Any], steps: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    optimizer = getattr(torch.optim, name)(model.named_parameters(), **options)
    step(model, optimizer, steps)
    return model, optimizer


def resumes(old: torch.optim.Optimizer, name: str, settings: dict[str, Any], how: str, **choices: Any) -> None:
    """Load, and step; whatever does not fit must be a CheckpointError that changes nothing."""
    model, optimizer = made(name, settings)
    if how == "load_state_dict":
        resumable(optimizer)
    before = {key: dict(value) for key, value in optimizer.state.items()}
    try:
        if how == "load_state_dict":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                optimizer.load_state_dict(old.state_dict())
        else:
            load_optimizer_state(optimizer, optimizer_state(old), **choices)
    except CheckpointError:
        assert not choices or choices.get("missing") == "error"
        assert {key: dict(value) for key, value in optimizer.state.items()}.keys() == before.keys()
    step(model, optimizer)


@pytest.mark.parametrize("name", CHOICES)
def test_every_pair_of_options_of_a_class_loads_or_is_refused(name: str) -> None:
    for _, one, other in [pair for pair in PAIRS if pair[0] == name]:
        old = made(name, one, steps=2)[1]
        for how in ("load_state_dict", "load_optimizer_state"):
            resumes(old, name, other, how)
        for options in ("config", "checkpoint"):
            resumes(old, name, other, "load_optimizer_state", missing="init", unexpected="ignore", options=options)


def test_state_of_every_class_loads_into_every_other_or_is_refused() -> None:
    for name, options in ALL:
        old = made(name, options, steps=2)[1]
        for other in CHOICES:
            if other != name:
                resumes(old, other, {}, "load_state_dict")
                resumes(old, other, {}, "load_optimizer_state", missing="init", unexpected="ignore")


def test_momentum_that_is_not_kept_any_more_is_named_and_may_be_ignored(tmp_path: Any) -> None:
    old = made("SGD", {"momentum": 0.9}, steps=2)[1]
    model, optimizer = made("SGD", {})
    with pytest.raises(CheckpointError, match="4 parameters saved with momentum_buffer, which it does not keep"):
        load_optimizer_state(optimizer, optimizer_state(old))
    report = load_optimizer_state(optimizer, optimizer_state(old), unexpected="ignore")
    assert report.ignored[0] == "0.weight (momentum_buffer)"
    save(old, tmp_path)
    load(optimizer, tmp_path, unexpected="ignore")
    step(model, optimizer)


# --- state whose shape is not the parameter's -------------------------------------------------

SHAPES = [(4, 6), (8, 3), (1, 6), (6, 8), (8, 1), (48,), (2, 4, 6), (8, 6)]


def factored(kind: str, shape: tuple[int, ...]) -> tuple[nn.ParameterDict, torch.optim.Optimizer]:
    model = nn.ParameterDict({"weight": nn.Parameter(torch.ones(shape))})
    if kind == "transformers":
        from transformers.optimization import Adafactor

        return model, Adafactor(list(model.named_parameters()))
    cls = torch.optim.Adafactor if kind == "torch" else Came
    return model, cls(list(model.named_parameters()))


class Came(torch.optim.Optimizer):
    """The form of CAME's state: a row and a column of second moments, which reads values to step."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for tensor in group["params"]:
                state = self.state[tensor]
                if not state:
                    state |= {"step": 0, "exp_avg": torch.zeros_like(tensor)}
                    if tensor.ndim > 1:
                        state |= {"row": torch.zeros(tensor.shape[:-1]), "column": torch.zeros(tensor.shape[1:])}
                state["step"] += 1
                scale = float(tensor.norm())
                if tensor.ndim > 1:
                    state["row"] += tensor.grad.mean(-1) * scale
                    state["column"] += tensor.grad.mean(0)
                    tensor -= group["lr"] * state["row"].unsqueeze(-1) * state["column"].unsqueeze(0)


@pytest.mark.parametrize("kind", ["torch", "transformers", "came"])
@pytest.mark.parametrize("how", ["load_state_dict", "load_optimizer_state", "load"])
def test_factored_state_of_another_shape_is_refused_by_every_route(kind: str, how: str, tmp_path: Any) -> None:
    def stepped(model: nn.ParameterDict, optimizer: torch.optim.Optimizer) -> None:
        model["weight"].square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    def loaded(optimizer: torch.optim.Optimizer) -> None:
        if how == "load_state_dict":
            resumable(optimizer)
            optimizer.load_state_dict(old.state_dict())
        elif how == "load":
            load(optimizer, tmp_path)
        else:
            load_optimizer_state(optimizer, optimizer_state(old))

    model, old = factored(kind, (8, 6))
    stepped(model, old)
    save(old, tmp_path)
    for shape in SHAPES[:-1]:
        optimizer = factored(kind, shape)[1]
        with pytest.raises(CheckpointError, match="weight"):
            loaded(optimizer)
        assert not optimizer.state
    again, optimizer = factored(kind, (8, 6))
    loaded(optimizer)
    stepped(again, optimizer)
