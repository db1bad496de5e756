"""The groups of a plan, as torch takes them, and the optimizer made of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from optimbuild.build.zero.agreement import sharded
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import shown
from optimbuild.model.survey import Surveyed
from optimbuild.plan.decision import Group
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import KERNELS, Implementation

SWITCHES: Mapping[Implementation, dict[str, bool]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
}
"""How torch's optimizers are told an implementation."""


ADDS = torch.optim.Optimizer.add_param_group
"""Torch's own, as it is found here."""


def parameter_groups(plan: Plan, surveyed: Surveyed) -> list[dict[str, Any]]:
    """Return the groups as torch takes them: tensors, names and options, and the implementation's switch."""
    names = {group.optimizer for group in plan.groups}
    if len(names) > 1:
        raise ConfigError(
            f"the plan gives parameters to {len(names)} optimizers ({', '.join(sorted(names))}); "
            "build_optimizer builds one. Build each from a config of its own."
        )
    tensor_at = surveyed.tensors.__getitem__
    pairs = zip(plan.members, plan.settings, strict=True)
    tensors = [list(map(tensor_at, members)) for members, setting in pairs if not setting.frozen]
    has_kernels = any(len(find_optimizer(name).implementations) > 1 for name in names)
    by_torch = plan.inventory.on_cpu and plan.spec.implementation == "auto"
    return [
        _torch_group(group, found, has_kernels, by_torch) for group, found in zip(plan.groups, tensors, strict=True)
    ]


def _torch_group(group: Group, tensors: list[nn.Parameter], has_kernels: bool, by_torch: bool) -> dict[str, Any]:
    """Return a group as torch takes it.

    A loop that is only the faster choice on a CPU is left to torch, which takes foreach if the tensors move on.
    """
    options: Mapping[str, Any] = group.options
    switch: Mapping[str, Any] = {}
    if has_kernels and "fused" not in options and "foreach" not in options:
        free = by_torch and group.implementation == "for-loop" and not options.get("differentiable")
        switch = {"foreach": None} if free else SWITCHES[group.implementation]
    return {"params": tensors, "param_names": list(group.params), **options, **switch}


def constructed(plan: Plan, groups: list[dict[str, Any]], bucket_view: bool = False) -> torch.optim.Optimizer:
    """Construct the torch optimizer, whose refusals become ours."""
    kind = find_optimizer(plan.groups[0].optimizer)
    cls = kind.load()
    common = {**kind.complete(plan.spec.optimizer.options)}
    for switch in ("fused", "foreach"):  # the constructor must know a switch that all groups share
        values = {group.get(switch) for group in groups}
        if len(values) == 1 and (value := values.pop()) is not None:
            common[switch] = value
    try:
        if plan.spec.sharding is None:
            optimizer = _with_groups(cls, groups, common)
        else:
            optimizer = sharded(cls, groups, common, bucket_view)
    except OptimBuildError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{kind.name} refuses: {type(error).__name__}: {shown(str(error), 300)}", "optimizer"
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"{kind.name} built {shown(optimizer)}, which is no torch optimizer", "optimizer.type")
    return optimizer


def _with_groups(cls: Any, groups: list[dict[str, Any]], options: dict[str, Any]) -> Any:
    """Construct an optimizer in a time that grows with the number of tensors.

    Torch compares each new group with every tensor of all groups before it, which took 13 ms of 16 for the 1357 tensors
    in 200 groups of InternImage-H. In a plan no tensor is in two groups, so each is added as if it were the first. Of
    torch's own classes each group only takes over the defaults, as all options are complete. What is left to check
    is that tensors are leaves; where one is none, torch says so.
    """
    known = getattr(cls, "add_param_group", None) is ADDS and cls.__new__ is object.__new__
    tensors = chain.from_iterable([group["params"] for group in groups])
    if not known or not all(map(attrgetter("is_leaf"), tensors)):
        return cls(groups, **options)
    optimizer = cls.__new__(cls)

    lacking: dict[str, Any] = {}  # a plan's groups have the same options, but for the switches of implementations

    def add_as_it_is(group: dict[str, Any]) -> None:
        if not optimizer.param_groups:
            lacking.update({k: v for k, v in optimizer.defaults.items() if k not in group or k in KERNELS})
        for option, default in lacking.items():
            group.setdefault(option, default)
        optimizer.param_groups.append(group)

    def add_as_the_first(group: dict[str, Any]) -> None:  # somebody else's class may have made it anew
        before, optimizer.param_groups = optimizer.param_groups, []
        ADDS(optimizer, group)
        before.extend(optimizer.param_groups)
        optimizer.param_groups = before

    optimizer.add_param_group = add_as_it_is if cls.__module__.startswith("torch.optim.") else add_as_the_first
    optimizer.__init__(groups, **options)
    del optimizer.add_param_group
    return optimizer
