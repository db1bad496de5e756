"""Models, configs and training loops of the tests of ZeRO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from optimbuild import build_optimizer
from tests.models import Net

RULES: list[dict[str, Any]] = [
    {"type": "no_decay"},
    {"type": "layer_decay", "ratio": 0.5},
    {"type": "freeze", "patterns": ["stem.0"]},
]
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"type": "adamw", "lr": 1e-2, "weight_decay": 0.05},
    "sgd": {"type": "sgd", "lr": 1e-2, "weight_decay": 0.05},
    "sgd_linear_probing": {"type": "sgd_linear_probing", "lr": 1e-2},
}


def config_of(kind: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"optimizer": kind, "rules": RULES[1:] if kind["type"] == "sgd_linear_probing" else RULES, **more}


def net(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return Net(depth=2, width=9).to(dtype)  # odd sizes, so that no tensor in a bucket starts at an even address


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 10,
    after_step: Callable[[int], None] = lambda step: None,
    width: int = 9,
    seed: int = 1,
) -> list[torch.Tensor]:
    """Train on the same data everywhere, unless seeds differ, and return the parameters."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        batch = torch.randn(4, width, generator=generator).to(next(model.parameters()).dtype)
        model(batch).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        after_step(step)
    return [parameter.detach() for parameter in model.parameters()]


def same(ours: list[torch.Tensor], plain: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def plain_and_sharded(config: dict[str, Any], make: Callable[[], nn.Module] = net, **options: Any) -> bool:
    """Say whether training with and without ZeRO gives the same parameters, bit for bit."""
    return same(*[trained({**config, "zero": zero}, make, **options) for zero in (False, config.get("zero", True))])


def trained(config: dict[str, Any], make: Callable[[], nn.Module] = net, **options: Any) -> list[torch.Tensor]:
    model = make()
    return train(model, build_optimizer(config, model), **options)


class Sign(torch.optim.Optimizer):
    """An optimizer of somebody else: no kernels, a state of its own."""

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                count = self.state[parameter].setdefault("count", torch.zeros(()))
                count += 1
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(
                    parameter.grad.sign() * group["lr"] / count
                )


def mixed() -> Net:
    model = net()
    model.head.to(torch.bfloat16)
    model.blocks[0].to(torch.bfloat16)
    for before, module in ((torch.bfloat16, model.head), (torch.bfloat16, model.blocks[0])):
        module.register_forward_pre_hook(lambda _, args, dtype=before: tuple(arg.to(dtype) for arg in args))
    model.blocks[1].register_forward_pre_hook(lambda _, args: tuple(arg.float() for arg in args))
    return model
