"""From a plan and a module to an optimizer: the only place that changes anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from optimbuild.build.construct import construct_optimizer
from optimbuild.build.freezing import freeze
from optimbuild.build.groups import parameter_groups
from optimbuild.build.kept_statistics import keep_statistics
from optimbuild.build.late_momentum import start_late_momentum
from optimbuild.build.zero.agreement import agree, report_failure
from optimbuild.checkpoint import resumable
from optimbuild.config import read_config
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.model.survey import Surveyed, survey
from optimbuild.plan.make import plan_of
from optimbuild.plan.plan import Plan


def build_optimizer(config: Any, model: nn.Module) -> torch.optim.Optimizer:
    """Plan a model under a config, freeze what the plan freezes, and build the optimizer.

    Args:
        config: Anything that a dialect reads, or the path of a file, as for :func:`~optimbuild.make_plan`.
        model: The module to optimize, bare or wrapped.

    Returns:
        A torch optimizer with one group for each distinct setting, ``param_names`` in each, and the
        plan at its attribute ``plan``.

    Raises:
        ConfigError: The config is wrong, or the optimizer refuses its options. Nothing was changed.
        ModelError: The model cannot be planned. Nothing was changed.
        MissingPackageError: The optimizer's package is not installed. Nothing was changed.

    >>> import torch
    >>> optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1}}, torch.nn.Linear(2, 2))
    >>> optimizer.param_groups[0]["param_names"], optimizer.plan["bias"].lr
    (['weight', 'bias'], 0.1)
    """
    reading = read_config(config)
    try:
        surveyed = survey(model)
        plan = plan_of(reading, surveyed.inventory)
    except OptimBuildError as error:
        report_failure(reading.spec, error)
        raise
    try:
        return build_planned(plan, surveyed)
    except ConfigError as error:
        raise error.moved(reading.paths) from error.__cause__


def build_planned(plan: Plan, surveyed: Surveyed) -> torch.optim.Optimizer:
    """Build the optimizer of a plan, and then freeze.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module, as :func:`~optimbuild.model.survey.survey` saw it.

    Raises:
        ConfigError: The optimizer refuses its options, or the plan names two optimizers; with ``zero``
            also what :func:`optimbuild.build.zero.agreement.agree` refuses.
    """
    bucket_view = False
    if plan.spec.sharding is not None:
        plan, bucket_view = agree(plan, surveyed)
    optimizer = construct_optimizer(plan, parameter_groups(plan, surveyed), bucket_view)
    apply_to_model(plan, surveyed)
    optimizer.plan = plan  # type: ignore[attr-defined]
    start_late_momentum(optimizer)
    resumable(optimizer)
    return optimizer


def apply_to_model(plan: Plan, surveyed: Surveyed) -> None:
    """Change a model as its plan says: freeze parameters, and keep the running statistics of norms.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module.
    """
    freeze(plan, surveyed)
    keepers = [rule for rule in plan.rules if getattr(rule, "keep_norm_stats", False)]
    modules = surveyed.modules if keepers else {}
    norms = [name for name, module in modules.items() if isinstance(module, _NormBase)]
    keep_statistics(modules, [name for name in norms if any(rule.keeps_in_eval(name) for rule in keepers)])
