"""Optimizers: a class of torch's kind, and what a plan knows about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from optimbuild import optimizer
from optimbuild.registry.optimizer_type import Options, State
from optimbuild.values import NonNegative, Share


class SignumOptions(Options):
    """Options of Signum.

    Example:
        ``{type: example_plugin_signum, lr: 0.01}``
    """

    lr: NonNegative = 1e-3
    """Learning rate, at least 0."""
    momentum: Share = 0.9
    """Decay rate of the running average of the gradient, in [0, 1]."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay, at least 0."""


def _state(_: Mapping[str, Any]) -> State:
    return State(copies=1)


@optimizer("example_plugin_signum", options=SignumOptions, implementations=(), state=_state)
class Signum(torch.optim.Optimizer):
    """SGD with the sign of the momentum (Bernstein et al., 2018)."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, and return the loss of the closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group)
        return loss

    def _update(self, param: torch.Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state["average"] = torch.zeros_like(param)
        state["average"].lerp_(param.grad, 1 - group["momentum"])
        param.mul_(1 - group["lr"] * group["weight_decay"])
        param.sub_(group["lr"] * state["average"].sign())
