"""SGD with momentum, and the SGD of linear probing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from optimbuild.registry import optimizer
from optimbuild.registry.optimizer_type import KERNELS, Options, State
from optimbuild.values import NonNegative, Number


class SGDOptions(Options):
    """Options of :class:`torch.optim.SGD`."""

    independent = frozenset(("lr", "weight_decay"))

    lr: NonNegative = 1e-3
    """Learning rate, at least 0."""
    momentum: NonNegative = 0.0
    """Momentum, at least 0."""
    dampening: Number = 0.0
    """Dampening of the momentum."""
    weight_decay: NonNegative = 0.0
    """L2 penalty, at least 0."""
    nesterov: bool = False
    """Nesterov momentum; needs momentum and no dampening."""
    maximize: bool = False
    """Ascend instead of descend."""
    differentiable: bool = False
    """Let autograd run through the step; needs the for-loop implementation."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and no dampening; set nesterov to false without them")
        return self


def _state(options: Mapping[str, Any]) -> State:
    return State(copies=1 if options["momentum"] else 0)


optimizer(
    "sgd",
    "torch.optim:SGD",
    defaults={"momentum": 0.9, "nesterov": True},
    options=SGDOptions,
    implementations=KERNELS,
    state=_state,
)
optimizer(
    "sgd_linear_probing",
    "torch.optim:SGD",
    fixed={"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    options=SGDOptions,
    implementations=KERNELS,
    state=_state,
)
