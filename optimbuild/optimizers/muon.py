"""Muon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from optimbuild.registry import optimizer
from optimbuild.registry.optimizer_type import Options, State
from optimbuild.values import NonNegative, Number, Whole


class MuonOptions(Options):
    """Options of :class:`torch.optim.Muon`, with torch's own defaults.

    Momentum, orthogonalized by Newton-Schulz iterations (Jordan et al., 2024). It takes matrices only, and torch has it
    since release 2.9.
    """

    independent = frozenset(("lr", "weight_decay"))

    lr: NonNegative = 1e-3
    """Learning rate, at least 0."""
    weight_decay: NonNegative = 0.1
    """Decoupled weight decay, at least 0."""
    momentum: NonNegative = 0.95
    """Momentum, at least 0."""
    nesterov: bool = True
    """Nesterov momentum."""
    ns_coefficients: tuple[Number, Number, Number] = (3.4445, -4.775, 2.0315)
    """Coefficients of the polynomial of a Newton-Schulz iteration."""
    eps: NonNegative = 1e-7
    """Added to the norm by which a momentum is divided, at least 0."""
    ns_steps: Annotated[Whole, Field(ge=1, lt=100)] = 5
    """Number of Newton-Schulz iterations."""
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None
    """How the LR follows a matrix's shape; ``match_rms_adamw`` makes updates as large as AdamW's (Liu et al., 2025)."""


def _state(options: Mapping[str, Any]) -> State:  # noqa: ARG001  # the same under all options
    return State(copies=1)


optimizer(
    "muon",
    "torch.optim:Muon",
    options=MuonOptions,
    implementations=(),
    state=_state,
    requires="torch>=2.9",
    dimensions=2,
)
