"""The construction of a torch optimizer from the groups of a plan."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import torch

from optimbuild.build.composite import CompositeOptimizer
from optimbuild.build.torch_groups import class_defaults
from optimbuild.checkpoint.built_optimizer import built_class
from optimbuild.checkpoint.named_optimizer import MEMBER
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import shown
from optimbuild.plan.base_options import given_options, path_of
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import KERNELS, OptimizerType

ADD_PARAM_GROUP = torch.optim.Optimizer.add_param_group
"""Torch's own, as it is when this module is imported."""

_CALLED = ("AdamW", "Adam", "SGD", "RAdam", "NAdam", "Adamax", "Adadelta", "RMSprop", "Rprop", "ASGD")
APPENDABLE = tuple(getattr(torch.optim, name) for name in _CALLED)
"""Classes whose constructor does nothing with a group but to fill in the defaults and to check its tensors."""


def construct_optimizer(plan: Plan, groups: list[dict[str, Any]], bucket_view: bool = False) -> torch.optim.Optimizer:
    """Construct the torch optimizer of a plan.

    Args:
        plan: The plan.
        groups: Its groups, see :func:`~optimbuild.build.torch_groups.parameter_groups`.
        bucket_view: With ``zero``, whether the parameters of a rank share one flat buffer.

    Raises:
        ConfigError: The optimizer's class refuses the options, or what it makes is no torch optimizer.
    """
    kinds = [find_optimizer(name) for name in dict.fromkeys([group.optimizer for group in plan.groups])]
    cls, options = _class_and_options(plan, kinds, groups)
    try:
        if plan.spec.sharding is None:
            optimizer = _with_groups(cls, groups, options)
        else:
            from optimbuild.build.zero.optimizer import sharded_optimizer  # needs a torch with torch.distributed

            optimizer = sharded_optimizer(cls, groups, options, bucket_view)
    except OptimBuildError:
        raise
    except Exception as error:
        raise _refusal(plan, kinds[0], error) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"{kinds[0].name} built {shown(optimizer)}, which is no torch optimizer", "optimizer.type")
    return optimizer


def _class_and_options(
    plan: Plan, kinds: Sequence[OptimizerType], groups: list[dict[str, Any]]
) -> tuple[Any, dict[str, Any]]:
    """Return the class to construct, that of the one optimizer or of a composite, and its options."""
    if len(kinds) == 1:
        return kinds[0].load(), _common_options(plan, kinds[0], groups)
    members = {}
    for kind in kinds:
        if _needs_closure(kind.load()):
            raise ConfigError(
                f"{kind.name} calls the closure itself, so it cannot be one of several optimizers. Route nothing to it",
                path_of(plan.spec, kind),
            )
        own = [group for group in groups if group[MEMBER] == kind.name]
        members[kind.name] = partial(_member, plan, kind, _common_options(plan, kind, own))
    if plan.spec.sharding is not None:  # torch's ZeRO writes every option into the groups
        return partial(CompositeOptimizer, members=members), {}
    return CompositeOptimizer, {"members": members}


def _common_options(plan: Plan, kind: OptimizerType, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the class of an optimizer is constructed with, beside its groups."""
    computed = class_defaults(plan.spec, kind)
    complete = kind.complete(given_options(plan.spec, kind)[0])
    common = {key: value for key, value in complete.items() if key not in computed}
    for switch in KERNELS:  # the constructor must know a switch that all groups share
        values = {group.get(switch) for group in groups}
        if len(values) == 1 and (value := values.pop()) is not None:
            common[switch] = value
    return common


def _member(
    plan: Plan, kind: OptimizerType, options: Mapping[str, Any], groups: list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Construct a member of a composite."""
    try:
        member = kind.load()(groups, **options)
    except Exception as error:
        raise _refusal(plan, kind, error) from error
    if not isinstance(member, torch.optim.Optimizer):
        path = path_of(plan.spec, kind)
        raise ConfigError(f"{kind.name} built {shown(member)}, which is no torch optimizer", path)
    _refuse_options_for_all(plan, kind, member)
    return member


def _refuse_options_for_all(plan: Plan, kind: OptimizerType, member: torch.optim.Optimizer) -> None:
    """Refuse two names of one type that differ in an option which the class keeps for all of its groups at once."""
    every = [kind.complete(given) for given in given_options(plan.spec, kind)]
    for key, value in every[0].items():
        if key not in member.defaults and any(repr(other[key]) != repr(value) for other in every[1:]):
            raise ConfigError(
                f"{kind.name} keeps {key} for all of its groups at once, so two names of it cannot differ in it",
                path_of(plan.spec, kind),
            )


def _refusal(plan: Plan, kind: OptimizerType, error: Exception) -> ConfigError:
    text = f"{kind.name} refuses: {type(error).__name__}: {shown(str(error), 300)}"
    return ConfigError(text, path_of(plan.spec, kind))


def _needs_closure(cls: Any) -> bool:
    closure = inspect.signature(cls.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _with_groups(cls: Any, groups: list[dict[str, Any]], options: Mapping[str, Any]) -> Any:
    """Construct an optimizer with all groups.

    Torch compares each new group with every tensor of all groups before it, which is quadratic: 13 ms of 16 for the 200
    groups and 1357 tensors of InternImage-H. In a plan no tensor is in two groups. So where the class is known to
    allow it, torch constructs the first group, and the others are appended with the same defaults. A tensor that
    is no leaf, or an ``add_param_group`` that somebody watches, takes the constructor's way.
    """
    appendable = cls in APPENDABLE and cls.add_param_group is ADD_PARAM_GROUP
    tensors = chain.from_iterable([group["params"] for group in groups])
    if not appendable or not all(map(attrgetter("is_leaf"), tensors)):
        return built_class(cls)(groups, **options)
    optimizer = built_class(cls)(groups[:1], **options)
    defaults = optimizer.defaults
    # the group's keys first, as add_param_group orders them
    optimizer.param_groups += [{**group, **defaults, **group} for group in groups[1:]]
    return optimizer
