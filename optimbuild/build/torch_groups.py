"""The parameter groups of a plan, as torch takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.model.survey import Surveyed
from optimbuild.plan.base_options import given_options
from optimbuild.plan.decision import MEMBER, Group
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.class_signature import parameters_of, plain_default
from optimbuild.registry.optimizer_type import Implementation, OptimizerType

SWITCHES: Mapping[Implementation, dict[str, bool]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
}
"""How a group tells torch's optimizers its implementation."""


def parameter_groups(plan: Plan, surveyed: Surveyed, whole: Plan | None = None) -> list[dict[str, Any]]:
    """Return the groups as torch takes them: tensors, names, options, and the switch of the implementation.

    An option that nobody gave, and that no rule changed, is not in the group, because the constructor may compute its
    value: LBFGS makes ``max_eval: 25`` of None.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module, with its tensors.
        whole: The plan of the whole model, where the module is a part of it, whose groups are named as in the whole.
    """
    kinds = {name: find_optimizer(name) for name in dict.fromkeys([group.optimizer for group in plan.groups])}
    tensor_at = surveyed.tensors.__getitem__
    pairs = zip(plan.members, plan.settings, strict=True)
    tensors = [list(map(tensor_at, members)) for members, setting in pairs if not setting.frozen]
    torch_chooses = plan.inventory.on_cpu and plan.spec.implementation == "auto"
    defaults = {name: constructor_options(plan.spec, kind)[1] for name, kind in kinds.items()}
    found = []
    for group, its_tensors, name in zip(plan.groups, tensors, _names(plan, whole), strict=True):
        has_kernels = len(kinds[group.optimizer].implementations) > 1
        options = _group_options(group, defaults[group.optimizer], has_kernels, torch_chooses)
        made = {"params": its_tensors, "param_names": list(group.params), "name": name, **options}
        found.append(made if len(kinds) == 1 else {**made, MEMBER: group.optimizer})
    return found


def constructor_options(spec: Spec, kind: OptimizerType) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the base options that an optimizer's class is given, and those that are left to it.

    Left are those that the config leaves at the default of the class; its constructor sets them. An option that was
    given as None counts as left out, and None stands for a default that a config cannot say. An option that differs
    from the class's default is not left out: a schema or a registration gave it.

    Args:
        spec: The canonical config.
        kind: The optimizer.

    >>> spec = Spec.of({"optimizer": {"type": "LBFGS", "lr": 0.1, "max_iter": 10}})
    >>> given, left = constructor_options(spec, find_optimizer("LBFGS"))
    >>> given["max_iter"], left["max_eval"] is None
    (10, True)
    """
    sources = given_options(spec, kind)
    complete = kind.complete(sources[0])
    declared = {name: plain_default(parameter) for name, parameter in parameters_of(kind.load()).items()}
    given = {name for name in (*kind.defaults, *kind.fixed) if complete.get(name) is not None}
    given |= {name for source in sources for name, value in source.items() if value is not None}
    left = {
        name: value
        for name, value in complete.items()
        if name not in given and name in declared and _same(value, declared[name])
    }
    return {name: value for name, value in complete.items() if name not in left}, left


def _same(value: object, other: object) -> bool:
    """Say whether two values of an option are the same; 1, 1.0 and True differ, a list and a tuple do not."""
    if isinstance(other, list):
        other = tuple(other)  # as the config's options are plain data
    return value is other or (type(value) is type(other) and value == other)


def _names(plan: Plan, whole: Plan | None) -> Sequence[str]:
    """Return the names of a plan's groups; those of a part are as in the plan of the whole."""
    if whole is None:
        return plan.group_names
    trainable = [setting.key for setting in whole.settings if not setting.frozen]
    known = dict(zip(trainable, whole.group_names, strict=True))
    return [known[setting.key] for setting in plan.settings if not setting.frozen]


def _group_options(group: Group, defaults: Mapping[str, Any], has_kernels: bool, torch_chooses: bool) -> dict[str, Any]:
    """Return the options of one group as torch takes them.

    Where a loop is only the faster choice on a CPU, torch chooses at each step: it takes foreach if the tensors have
    moved to an accelerator.

    Args:
        group: The planned group.
        defaults: What is left to the constructor, where the group has the same value.
        has_kernels: Whether the optimizer takes the switches of implementations.
        torch_chooses: Whether the implementation was neither asked for nor depends on anything but the CPU.
    """
    options = {k: v for k, v in group.options.items() if k not in defaults or not _same(v, defaults[k])}
    switch: Mapping[str, Any] = {}
    if has_kernels and "fused" not in options and "foreach" not in options:
        free = torch_chooses and group.implementation == "for-loop" and not options.get("differentiable")
        switch = {"foreach": None} if free else SWITCHES[group.implementation]
    return {**options, **switch}
