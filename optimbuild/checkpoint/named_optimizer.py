"""An optimizer whose parameters have names: its tensors, groups and state by name, under ZeRO too."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.group_options import IMPLEMENTATION, INITIAL, SCHEDULES, options_of
from optimbuild.errors import CheckpointError, OptimBuildError
from optimbuild.messages import counted, listing, shown
from optimbuild.plan.decision import MEMBER
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.packages import PACKAGES


@dataclass(frozen=True)
class NamedOptimizer:
    """An optimizer, and its parameters by name.

    Args:
        optimizer: The optimizer of the training loop; its groups hold every parameter.
        local: The optimizer that keeps this rank's state: the wrapped one under ZeRO, else the same.
        params: Every parameter by name, group by group.
        group_of: By name, the index of the parameter's group.
    """

    optimizer: Optimizer
    local: Optimizer
    params: Mapping[str, torch.Tensor]
    group_of: Mapping[str, int]

    @classmethod
    def of(cls, optimizer: Any) -> NamedOptimizer:
        """Read the names that an optimizer's groups give.

        Raises:
            CheckpointError: It is no torch optimizer, or a group does not name its parameters.
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

    @cached_property
    def steppers(self) -> Mapping[str, Optimizer]:
        """The optimizers that step, see :func:`steppers_of`."""
        return steppers_of(self.local)

    def stepper(self, group: Mapping[str, Any]) -> Optimizer:
        """Return the optimizer that steps a group."""
        return self.steppers.get(str(group.get(MEMBER)), self.local)

    @cached_property
    def single(self) -> str | None:
        """The name of the one optimizer that steps all parameters; None for several, and where no plan says it."""
        if self.plan is None or len(self.steppers) > 1:
            return None
        names = (self.plan[name].optimizer for name in self.params if name in self.plan)
        return next(filter(None, names), None)

    def stepped_by(self, name: str) -> str | None:
        """Return the name of the optimizer that steps a parameter; None where nobody knows it."""
        found: str | None = self.optimizer.param_groups[self.group_of[name]].get(MEMBER)
        return found or self.single

    def options(self) -> dict[str, dict[str, Any]]:
        """Return by name the options to save, and among them what steps the parameter, where that is known."""
        its_optimizer = {} if self.single is None else {MEMBER: self.single}
        options = [{**its_optimizer, **options_of(group)} for group in self.optimizer.param_groups]
        return {name: options[index] for name, index in self.group_of.items()}

    def other_optimizer(self, name: str, saved: Mapping[str, Any]) -> str:
        """Return in words that another optimizer stepped a parameter before; nothing where that is not known.

        Args:
            name: The parameter's name.
            saved: Its saved options, among which saves have the name since 0.2.
        """
        before = saved.get(MEMBER)
        if before is None:
            return self._other_options(name, saved) if len(self.steppers) > 1 else ""
        now = self.stepped_by(name)
        return "" if now is None or _is_one_class(str(before), now) else f"{before} before, and by {now} now"

    def _other_options(self, name: str, saved: Mapping[str, Any]) -> str:
        """Tell by the options of a save of one optimizer that it is not the one of several that steps a parameter now.

        It is another one if either has options that the other does not know; a newer release only has more.
        """
        now = self.stepper(self.optimizer.param_groups[self.group_of[name]])
        theirs = {key for key in saved if key not in IMPLEMENTATION | SCHEDULES and not key.startswith(INITIAL)}
        ours = now.defaults.keys() - IMPLEMENTATION
        if not theirs - ours or not ours - theirs:
            return ""
        options = f"an optimizer with {min(theirs - ours)}"
        return f"{options} before, and by {self.stepped_by(name)}, which has {min(ours - theirs)}, now"

    @property
    def is_zero(self) -> bool:
        """Whether each rank keeps the state of its own part of the parameters only, as ZeRO stage 1 does."""
        return self.local is not self.optimizer

    @cached_property
    def has_dtensors(self) -> bool:
        """Whether some parameter is itself spread over ranks, as under FSDP2."""
        return any(is_dtensor(tensor) for tensor in self.params.values())

    @property
    def process_group(self) -> Any:
        """The ranks that ZeRO shards over; None means all of them."""
        return getattr(self.optimizer, "process_group", None)

    @property
    def plan(self) -> Plan | None:
        """The plan of an optimizer that optimbuild built, else None."""
        return getattr(self.optimizer, "plan", None)

    def owned(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the names and tensors of the parameters whose state this rank keeps."""
        if not self.is_zero:
            yield from self.params.items()
            return
        mine = {id(tensor) for group in self.local.param_groups for tensor in group["params"]}
        for name, tensor in self.params.items():
            if id(tensor) in mine:
                yield name, tensor

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the state that this rank keeps, by name: the tensors themselves, and numbers.

        Raises:
            CheckpointError: The optimizer keeps something else than tensors and numbers, or keeps state
                that belongs to no parameter.
        """
        state = self.local.state
        found = {}
        for name, tensor in self.owned():
            entries = {key: value for key, value in state.get(tensor, {}).items() if value is not None}
            for key, value in entries.items():
                if not _is_savable(value) or not isinstance(key, str):
                    raise CheckpointError(
                        f"{type(self.local).__name__} keeps {shown(value)} as {key!r} of {name!r}; only tensors and "
                        "numbers can be saved by name. What works is to save its state_dict(), which loads into the "
                        "same parameters in the same order"
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


def _is_one_class(one: str, other: str) -> bool:
    """Say whether two names mean one class, as ``adamw`` and MMEngine's ``AdamW`` do; no package is imported for it."""
    prefix = one.partition(".")[0]
    if one == other or (prefix in PACKAGES and prefix not in sys.modules):
        return one == other
    try:
        return find_optimizer(one).load() is find_optimizer(other).load()
    except OptimBuildError:
        return False


def _is_savable(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63  # which a tensor can hold, and so every release of every optimizer
    return isinstance(value, (torch.Tensor, float, str))


def _names(group: Mapping[str, Any], index: int) -> list[str]:
    names = group.get("param_names")
    if names is None or len(names) != len(group["params"]):
        raise CheckpointError(
            f"param_groups[{index}] does not name its {counted(len(group['params']), 'parameter')}: `param_names` is "
            f"{shown(names)}. Build the optimizer with optimbuild.build_optimizer, or construct it from "
            "model.named_parameters()."
        )
    return list(names)


def is_zero(optimizer: Optimizer) -> bool:
    """Say whether this is torch's ZeroRedundancyOptimizer. Where its module was not imported, nothing is one."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    return module is not None and isinstance(optimizer, module.ZeroRedundancyOptimizer)


def is_dtensor(value: Any) -> bool:
    """Say whether this is a DTensor. Where its module was not imported, nothing is one."""
    if type(value) in (torch.Tensor, torch.nn.Parameter):
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def steppers_of(optimizer: Optimizer) -> Mapping[str, Optimizer]:
    """Return the optimizers that step: the members of a composite, by their names, or the one; also inside ZeRO."""
    inner: Any = optimizer.optim if is_zero(optimizer) else optimizer  # type: ignore[attr-defined]
    members: Mapping[str, Optimizer] | None = getattr(inner, "members", None)
    return members or {"": inner}
