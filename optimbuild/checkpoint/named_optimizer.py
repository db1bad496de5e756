"""What an optimizer holds, by parameter name, whether ZeRO wraps it or not."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim import Optimizer

from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown

if TYPE_CHECKING:
    from optimbuild.plan.plan import Plan


@dataclass(frozen=True)
class Held:
    """An optimizer's parameters by name.

    Args:
        optimizer: The optimizer that the training loop has; its groups hold every parameter.
        local: The one that keeps this rank's state: the wrapped one under ZeRO, else the same.
        params: Every parameter by name, group by group.
        group_of: The index of each one's group.
    """

    optimizer: Optimizer
    local: Optimizer
    params: Mapping[str, torch.Tensor]
    group_of: Mapping[str, int]

    @classmethod
    def of(cls, optimizer: Any) -> Held:
        """Look at an optimizer.

        Raises:
            CheckpointError: It is no torch optimizer, or its groups do not name their parameters.
        """
        if not isinstance(optimizer, Optimizer):
            raise CheckpointError(
                f"state by name needs a torch.optim.Optimizer, not {shown(optimizer)}; a wrapper usually has it as "
                "its attribute `optimizer`"
            )
        params: dict[str, torch.Tensor] = {}
        group_of: dict[str, int] = {}
        for index, group in enumerate(optimizer.param_groups):
            for name, tensor in zip(_names(group, index), group["params"], strict=True):
                if name in params:
                    raise CheckpointError(f"two parameters of the optimizer have the name {shown(name)}")
                params[name], group_of[name] = tensor, index
        local = optimizer.optim if is_zero(optimizer) else optimizer  # type: ignore[attr-defined]
        return cls(optimizer, local, params, group_of)

    @property
    def sharded(self) -> bool:
        """Whether each rank keeps only the state of its own parameters, as ZeRO stage 1 does."""
        return self.local is not self.optimizer

    @cached_property
    def distributed(self) -> bool:
        """Whether some parameter is itself spread over ranks, as FSDP2 does."""
        return any(is_dtensor(tensor) for tensor in self.params.values())

    @property
    def process_group(self) -> Any:
        """The ranks that ZeRO shards over; None stands for all."""
        return getattr(self.optimizer, "process_group", None)

    @property
    def plan(self) -> Plan | None:
        """The plan that the optimizer was built from, where optimbuild built it."""
        return getattr(self.optimizer, "plan", None)

    def owned(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the parameters whose state this rank keeps, with their names."""
        if not self.sharded:
            yield from self.params.items()
            return
        mine = {id(tensor) for group in self.local.param_groups for tensor in group["params"]}
        for name, tensor in self.params.items():
            if id(tensor) in mine:
                yield name, tensor

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the state that this rank keeps, by name: the live tensors and numbers.

        Raises:
            CheckpointError: The optimizer keeps something else than tensors and numbers, or keeps it
                for something that is no parameter.
        """
        state = self.local.state
        found = {}
        for name, tensor in self.owned():
            entries = {key: value for key, value in state.get(tensor, {}).items() if value is not None}
            for key, value in entries.items():
                if not isinstance(value, (torch.Tensor, int, float, str)):
                    raise CheckpointError(
                        f"{type(self.local).__name__} keeps {shown(value)} as {key!r} of {name!r}; only tensors and "
                        "numbers can be saved by name"
                    )
            if entries:
                found[name] = entries
        foreign = [shown(key) for key in cast(Iterable[Any], state) if not isinstance(key, torch.Tensor)]
        if foreign:
            raise CheckpointError(
                f"{type(self.local).__name__} keeps state that belongs to no parameter, which has no name: "
                f"{listing(foreign)}"
            )
        return found


def _names(group: Mapping[str, Any], index: int) -> list[str]:
    names = group.get("param_names")
    if names is None or len(names) != len(group["params"]):
        raise CheckpointError(
            f"param_groups[{index}] does not name its {len(group['params'])} parameters: `param_names` is "
            f"{shown(names)}. Build the optimizer with optimbuild.build_optimizer, or construct it from "
            "model.named_parameters()."
        )
    return list(names)


def is_zero(optimizer: Optimizer) -> bool:
    """Say whether this is torch's ZeroRedundancyOptimizer, which nobody can have made without importing it."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    return module is not None and isinstance(optimizer, module.ZeroRedundancyOptimizer)


def is_dtensor(value: Any) -> bool:
    """Say whether this is a DTensor, which nobody can have made without importing its module."""
    if type(value) in (torch.Tensor, torch.nn.Parameter):
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)
