"""LARS and LAMB of MMPretrain. A plan needs only what is said here; a build imports the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from optimbuild.registry import optimizer
from optimbuild.registry.optimizer_type import Options, State
from optimbuild.values import NonNegative, Number

Beta = Annotated[Number, Field(ge=0, lt=1)]


class LarsOptions(Options):
    """Options of MMPretrain's ``LARS`` (You et al., 2017)."""

    independent = frozenset(("lr", "weight_decay"))

    lr: NonNegative
    """Learning rate, at least 0."""
    momentum: NonNegative = 0.0
    """Momentum, at least 0."""
    weight_decay: NonNegative = 0.0
    """L2 penalty, at least 0."""
    dampening: Number = 0.0
    """Dampening of the momentum."""
    eta: Number = 0.001
    """The trust coefficient."""
    nesterov: bool = False
    """Nesterov momentum."""
    eps: NonNegative = 1e-8
    """Added to the denominator, at least 0."""


class LambOptions(Options):
    """Options of MMPretrain's ``Lamb`` (You et al., 2019)."""

    independent = frozenset(("lr", "weight_decay"))

    lr: NonNegative = 1e-3
    """Learning rate, at least 0."""
    bias_correction: bool = True
    """Correct the averages for their start at 0."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay rates of the running averages of the gradient and of its square, each in [0, 1)."""
    eps: NonNegative = 1e-6
    """Added to the denominator, at least 0."""
    weight_decay: NonNegative = 0.01
    """Weight decay, at least 0."""
    grad_averaging: bool = True
    """Scale the gradient by one minus the first decay rate."""
    max_grad_norm: NonNegative | None = 1.0
    """The limit on the norm of all gradients."""
    trust_clip: bool = False
    """Limit the trust ratio to 1."""
    always_adapt: bool = False
    """Adapt the LR of parameters without weight decay too."""


def _lars_state(options: Mapping[str, Any]) -> State:
    return State(copies=1 if options["momentum"] else 0)


def _lamb_state(options: Mapping[str, Any]) -> State:  # noqa: ARG001  # it depends on none
    return State(copies=2)


optimizer(
    "LARS",
    "mmpretrain.engine.optimizers.lars:LARS",
    options=LarsOptions,
    implementations=(),
    state=_lars_state,
    group_marks=("lars_exclude",),
)
optimizer("Lamb", "mmpretrain.engine.optimizers.lamb:Lamb", options=LambOptions, implementations=(), state=_lamb_state)
