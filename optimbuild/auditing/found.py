"""What an audit finds before it judges: the groups of optimizers, and the model that they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.plan import Plan
from optimbuild.registry.optimizer_type import OptimizerType


@dataclass(frozen=True)
class FoundGroup:
    """One group of an optimizer.

    Args:
        place: The group in words, such as ``group 3 of 'critic'``.
        optimizer: The number of its optimizer; a wrapper counts as what it wraps.
        stepper: What steps the group: the optimizer, or a member of it. For a file, an optimizer of the same class.
        kind: The registered type of the stepper.
        entries: All that the group holds beside its tensors.
        positions: The positions of its parameters in the inventory.
        strangers: The shapes of its tensors that are no parameters of the model.
    """

    place: str
    optimizer: int
    stepper: Optimizer
    kind: OptimizerType
    entries: Mapping[str, Any]
    positions: Sequence[int]
    strangers: Sequence[tuple[int, ...]] = ()


StateOf = Callable[[FoundGroup, int], Mapping[str, Any] | None]
"""Returns the state of a parameter, by its group and its position; None where there is none."""


@dataclass(frozen=True)
class Found:
    """The groups of one or several optimizers, and their model.

    Args:
        inventory: The model's parameters.
        tensors: The parameters themselves, in the same order; on the meta device for a file.
        groups: The groups, in their order.
        state_of: Finds state.
        modules: The modules by canonical name; empty for a file, which has none.
        kept: The modules whose running statistics stay as they are.
        built: The plan of an optimizer that optimbuild built, for this model; None for any other.
        source: Where it was found, in words.
        sharded: Whether ZeRO shards the state.
    """

    inventory: Inventory
    tensors: Sequence[torch.Tensor]
    groups: Sequence[FoundGroup]
    state_of: StateOf
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    built: Plan | None = None
    source: str = ""
    sharded: bool = False

    @property
    def is_live(self) -> bool:
        """Whether this is a living optimizer, and no file."""
        return bool(self.modules)

    @cached_property
    def groups_of(self) -> list[tuple[int, ...]]:
        """For every parameter the numbers of the groups that hold it."""
        found: list[tuple[int, ...]] = [()] * len(self.tensors)
        for number, group in enumerate(self.groups):
            alone = (number,)
            for position in group.positions:
                found[position] = (*found[position], number) if found[position] else alone
        return found

    def with_groups(self) -> Iterator[tuple[ParamInfo, tuple[int, ...]]]:
        """Yield every parameter with the numbers of the groups that hold it."""
        return zip(self.inventory, self.groups_of, strict=True)

    def names(self, positions: Sequence[int]) -> tuple[str, ...]:
        """Return the names of parameters, by their positions."""
        names = self.inventory.names
        return tuple([names[position] for position in positions])
