"""The construction of a torch optimizer from the groups of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import torch

from optimbuild.build.composite import CompositeOptimizer
from optimbuild.build.torch_groups import constructor_options
from optimbuild.checkpoint.built_optimizer import built_class
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import shown
from optimbuild.plan.base_options import path_of
from optimbuild.plan.plan import Plan
from optimbuild.plan.routing import calls_closure, closure_needed
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
        ConfigError: An optimizer's class refuses its options or its groups, or what it makes is no torch optimizer.
    """
    kinds = [find_optimizer(name) for name in dict.fromkeys([group.optimizer for group in plan.groups])]
    members = {kind.name: partial(_member, plan, kind) for kind in kinds}
    cls: Any = CompositeOptimizer
    options: dict[str, Any] = {"members": members}
    if len(kinds) == 1:
        cls, options = kinds[0].load(), _common_options(plan, kinds[0], groups)
    elif plan.spec.sharding is not None:  # torch's ZeRO writes what it is given as options into every group
        cls, options = partial(CompositeOptimizer, members=members), {}
    if plan.spec.sharding is None:
        construct = partial(_with_groups, cls, groups, options)
    else:
        from optimbuild.build.zero.optimizer import sharded_optimizer  # needs a torch with torch.distributed

        construct = partial(sharded_optimizer, cls, groups, options, bucket_view)
    return _checked(plan, kinds[0], construct) if len(kinds) == 1 else construct()


def _member(plan: Plan, kind: OptimizerType, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Construct a member of a composite."""
    member = _checked(plan, kind, partial(kind.load(), groups, **_common_options(plan, kind, groups)))
    first = next(group for group in plan.groups if group.optimizer == kind.name)
    if calls_closure(kind, first):  # planning did not ask a class whose options are declared
        raise ConfigError(closure_needed(kind.name), path_of(plan.spec, kind))
    return member


def _checked(plan: Plan, kind: OptimizerType, construct: Callable[[], Any]) -> torch.optim.Optimizer:
    """Construct what has the groups of one optimizer of a plan.

    Raises:
        ConfigError: The class refuses them, what it makes is no torch optimizer, or it keeps an option for all of its
            groups at once in which these differ.
    """
    path = path_of(plan.spec, kind)
    try:
        made = construct()
    except OptimBuildError:
        raise
    except Exception as error:
        raise ConfigError(f"{kind.name} refuses: {type(error).__name__}: {shown(str(error), 300)}", path) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigError(f"{kind.name} built {shown(made)}, which is no torch optimizer", path)
    if "param_groups" not in vars(made):
        raise ConfigError(f"{kind.name} has no groups: call super().__init__(params, defaults) in its __init__", path)
    first, *others = [group.options for group in plan.groups if group.optimizer == kind.name]
    for key in first.keys() & kind.known - made.defaults.keys() - frozenset(KERNELS):
        if any(repr(other[key]) != repr(first[key]) for other in others):
            raise ConfigError(
                f"{kind.name} keeps {key} for all of its groups at once, so they cannot differ in it", path
            )
    return made


def _common_options(plan: Plan, kind: OptimizerType, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the class of an optimizer is constructed with, beside its groups."""
    common, _ = constructor_options(plan.spec, kind)
    for switch in KERNELS:  # the constructor must know a switch that all groups share
        values = {group.get(switch) for group in groups}
        if len(values) == 1 and (value := values.pop()) is not None:
            common[switch] = value
    return common


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
