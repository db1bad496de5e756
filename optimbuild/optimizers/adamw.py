"""AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from optimbuild.registry import optimizer
from optimbuild.registry.optimizer_type import KERNELS, Options, State
from optimbuild.values import NonNegative, Number

Beta = Annotated[Number, Field(ge=0, lt=1)]


class AdamWOptions(Options):
    """Options of :class:`torch.optim.AdamW`, with torch's own defaults.

    Decoupled weight decay (Loshchilov and Hutter, 2019).
    """

    independent = frozenset(("lr", "weight_decay"))

    lr: NonNegative = 1e-3
    """Learning rate, at least 0."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay rates of the running averages of the gradient and of its square, each in [0, 1)."""
    eps: NonNegative = 1e-8
    """Added to the denominator, at least 0."""
    weight_decay: NonNegative = 1e-2
    """Decoupled weight decay, at least 0."""
    amsgrad: bool = False
    """Keep the largest of the averages of squared gradients (Reddi et al., 2018)."""
    maximize: bool = False
    """Ascend instead of descend."""
    capturable: bool = False
    """Allow capture in a CUDA graph."""
    differentiable: bool = False
    """Let autograd run through the step; needs the for-loop implementation."""


def _state(options: Mapping[str, Any]) -> State:
    return State(copies=3 if options["amsgrad"] else 2, scalars=1)


optimizer("adamw", "torch.optim:AdamW", options=AdamWOptions, implementations=KERNELS, state=_state)
