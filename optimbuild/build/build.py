"""From a plan and a module to an optimizer: the only place that changes anything."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optimbuild.build.construct import construct_optimizer
from optimbuild.build.freezing import freeze
from optimbuild.build.kept_statistics import keep_statistics
from optimbuild.build.part import restricted
from optimbuild.build.torch_groups import parameter_groups
from optimbuild.build.watch import watch_of
from optimbuild.build.zero.agreement import agree, report_failure
from optimbuild.checkpoint.built_optimizer import give_plan
from optimbuild.config import read_config
from optimbuild.config.read import is_saved_plan
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.model.survey import Surveyed, survey
from optimbuild.plan.make import plan_of_reading
from optimbuild.plan.plan import Plan


def build_optimizer(config: Any, model: nn.Module, *, overrides: Sequence[str] = ()) -> torch.optim.Optimizer:
    """Plan a model under a config, freeze what the plan freezes, and build the optimizer.

    Given a plan of the whole model, a part of it can be built, such as one stage of a pipeline: each parameter gets
    what it gets in the whole, and the plan and its fingerprint are the same on every stage.

    Args:
        config: Anything that a dialect reads, or the path of a file, as for :func:`~optimbuild.make_plan`; or a
            :class:`~optimbuild.Plan`, or the path of a plan that was saved as JSON, whatever its ending.
        model: The module to optimize, bare or wrapped. Under a plan its parameters are some of the plan's, by name.
        overrides: ``KEY=VALUE`` in the config's own dialect; a plan takes none.

    Returns:
        A torch optimizer with one group for each distinct setting, each with ``param_names`` and a short ``name``,
        and the plan at its attribute ``plan``; that of the whole model where a part was built.

    Raises:
        ConfigError: The config is wrong, or the optimizer refuses its options. Nothing was changed.
        ModelError: The model cannot be planned, or is no part of the plan's model. Nothing was changed.
        MissingPackageError: The optimizer's package is not installed. Nothing was changed.

    >>> import torch
    >>> optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1}}, torch.nn.Linear(2, 2))
    >>> optimizer.param_groups[0]["param_names"], optimizer.plan["bias"].lr
    (['weight', 'bias'], 0.1)
    >>> from optimbuild import make_plan
    >>> whole = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, whole)
    >>> stage = build_optimizer(plan, torch.nn.ModuleDict({"1": whole[1]}))
    >>> stage.param_groups[0]["param_names"], stage.plan.fingerprint == plan.fingerprint
    (['1.weight', '1.bias'], True)
    """
    plan = config if isinstance(config, Plan) else _saved_plan(config)
    if plan is not None:
        return _build_part(plan, model, overrides)
    reading = read_config(config, overrides)
    try:
        surveyed = survey(model)
        plan = plan_of_reading(reading, surveyed.inventory)
    except OptimBuildError as error:
        report_failure(reading.spec, error)
        raise
    try:
        return build_planned(plan, surveyed)
    except ConfigError as error:
        raise error.moved(reading.paths) from error.__cause__


def _saved_plan(config: Any) -> Plan | None:
    """Return the plan that a file holds as JSON, whatever the file is called; None where it is the path of none."""
    if not isinstance(config, (str, os.PathLike)):
        return None
    try:
        if not Path(config).is_file():
            return None
        with open(config, encoding="utf-8") as file:
            if file.read(1) != "{":
                return None
            file.seek(0)
            text = file.read()
        return Plan.from_json(text) if is_saved_plan(json.loads(text)) else None
    except (OSError, ValueError, RecursionError):
        return None  # whoever reads configs finds the words


def _build_part(plan: Plan, model: nn.Module, overrides: Sequence[str]) -> torch.optim.Optimizer:
    """Build a part of the model of a plan, or all of it."""
    if overrides:
        raise ConfigError("overrides change a config, and a plan is made already. Give them to make_plan")
    try:
        part_plan, surveyed = restricted(plan, survey(model))
    except OptimBuildError as error:
        report_failure(plan.spec, error)
        raise
    return build_planned(part_plan, surveyed, plan)


def build_planned(plan: Plan, surveyed: Surveyed, whole: Plan | None = None) -> torch.optim.Optimizer:
    """Build the optimizer of a plan, and then freeze.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module, as :func:`~optimbuild.model.survey.survey` saw it.
        whole: The plan of the whole model, where the module is a part of it.

    Raises:
        ConfigError: An optimizer refuses its options; with ``zero`` also what
            :func:`optimbuild.build.zero.agreement.agree` refuses.
    """
    bucket_view = False
    if plan.spec.sharding is not None:
        plan, bucket_view = agree(plan, surveyed)
    optimizer = construct_optimizer(plan, parameter_groups(plan, surveyed, whole), bucket_view)
    apply_to_model(plan, surveyed)
    watch = watch_of(plan, surveyed)
    if whole is not None:
        plan = whole if whole.notes == plan.notes else replace(whole, notes=plan.notes)
    give_plan(optimizer, plan, surveyed.model, watch)
    return optimizer


def apply_to_model(plan: Plan, surveyed: Surveyed) -> None:
    """Change a model as its plan says: freeze parameters, and keep the running statistics of norms.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module.
    """
    freeze(plan, surveyed)
    keep_statistics(surveyed, plan.kept_statistics)
