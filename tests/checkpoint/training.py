"""Training that comes out the same everywhere: in one process, on any rank, from any step on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optimbuild import build_optimizer
from tests.models import Net

CONFIG: dict[str, Any] = {
    "optimizer": {"type": "adamw", "lr": 1e-2, "weight_decay": 0.05},
    "rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}],
}
SGD: dict[str, Any] = {"optimizer": {"type": "sgd", "lr": 1e-2, "weight_decay": 0.05}, "rules": [{"type": "no_decay"}]}
PROBING: dict[str, Any] = {"optimizer": {"type": "sgd_linear_probing", "lr": 1e-2}}


def net(seed: int = 0) -> Net:
    """Return the model, always with the same weights for a seed."""
    torch.manual_seed(seed)
    return Net(depth=2, width=9)  # odd sizes, so that no tensor in a bucket starts at an even address


def built(config: dict[str, Any] | None = None, seed: int = 0) -> tuple[Net, torch.optim.Optimizer]:
    """Return a model and its optimizer, both untrained."""
    model = net(seed)
    return model, build_optimizer(CONFIG if config is None else config, model)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Take the given steps of the training, each on its own batch."""
    for number in steps:
        generator = torch.Generator().manual_seed(number)
        model(torch.randn(4, 9, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 1) -> None:
    """Take steps on one and the same batch of ones, for models that take four features."""
    for _ in range(steps):
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def trained(config: dict[str, Any] | None = None, steps: int = 5) -> tuple[Net, torch.optim.Optimizer]:
    """Return a model and its optimizer after some steps."""
    model, optimizer = built(config)
    train(model, optimizer, range(steps))
    return model, optimizer


def resumed(model: nn.Module, config: dict[str, Any] | None = None) -> tuple[Net, torch.optim.Optimizer]:
    """Return the trained model again, with a fresh optimizer."""
    again = net()
    again.load_state_dict(model.state_dict())
    return again, build_optimizer(CONFIG if config is None else config, again)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of a model's parameters by name."""
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def plain(value: Any) -> Any:
    """Return nested data with its tensors as lists of their exact numbers, so that a process can send it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [str(value.dtype), value.tolist()] if isinstance(value, torch.Tensor) else value


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two nested dicts hold the same tensors, bit for bit, and the same values."""
    if one.keys() != other.keys():
        return False
    for key, value in one.items():
        theirs = other[key]
        if isinstance(value, dict):
            if not same(value, theirs):
                return False
        elif isinstance(value, torch.Tensor):
            if value.dtype != theirs.dtype or not torch.equal(value, theirs):
                return False
        elif value != theirs:
            return False
    return True
