"""The parameter groups of a plan, as torch takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from optimbuild.errors import ConfigError
from optimbuild.model.survey import Surveyed
from optimbuild.plan.decision import Group
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import Implementation

SWITCHES: Mapping[Implementation, dict[str, bool]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
}
"""How a group tells torch's optimizers its implementation."""


def parameter_groups(plan: Plan, surveyed: Surveyed) -> list[dict[str, Any]]:
    """Return the groups as torch takes them: tensors, names, options, and the switch of the implementation.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module, with its tensors.

    Raises:
        ConfigError: The plan names more than one optimizer.
    """
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
    torch_chooses = plan.inventory.on_cpu and plan.spec.implementation == "auto"
    return [
        _torch_group(group, its_tensors, has_kernels, torch_chooses)
        for group, its_tensors in zip(plan.groups, tensors, strict=True)
    ]


def _torch_group(group: Group, tensors: list[nn.Parameter], has_kernels: bool, torch_chooses: bool) -> dict[str, Any]:
    """Return one group as torch takes it.

    Where a loop is only the faster choice on a CPU, torch chooses at each step: it takes foreach if the tensors have
    moved to an accelerator.
    """
    options: Mapping[str, Any] = group.options
    switch: Mapping[str, Any] = {}
    if has_kernels and "fused" not in options and "foreach" not in options:
        free = torch_chooses and group.implementation == "for-loop" and not options.get("differentiable")
        switch = {"foreach": None} if free else SWITCHES[group.implementation]
    return {"params": tensors, "param_names": list(group.params), **options, **switch}
