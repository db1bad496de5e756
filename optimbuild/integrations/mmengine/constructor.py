"""The constructor that a runner's config names: it plans, builds and wraps the optimizer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import BaseOptimWrapper, OptimWrapperDict
from torch import nn

from optimbuild.build.build import build_planned
from optimbuild.build.ddp import expect_no_gradients_of_frozen
from optimbuild.build.zero.agreement import report_failure
from optimbuild.config import Reading
from optimbuild.config.dialects.mmengine import KEY, READ, of_wrapper, plain_wrapper, wrappers_inside
from optimbuild.config.dialects.mmengine_modules import OURS, selection
from optimbuild.config.dialects.mmengine_optimizer import SCOPE_OF
from optimbuild.config.dialects.mmengine_wrappers import each_wrapper
from optimbuild.config.published import number_of_ranks
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.integrations.mmengine.wrappers import refuse_wrong, wrap, wrapper_class
from optimbuild.messages import closest, counted, listing, shown
from optimbuild.model.survey import Surveyed, survey
from optimbuild.model.walk import unwrapped
from optimbuild.plan.make import plan_of_reading
from optimbuild.plan.plan import Plan
from optimbuild.registry import OPTIM_WRAPPER_CONSTRUCTORS
from optimbuild.registry.scopes import import_scope
from optimbuild.values import join


@dataclass(frozen=True)
class _PlannedWrapper:
    """An optimizer wrapper that is planned and checked, and not built yet.

    Args:
        reading: The config of the wrapper, read.
        plan: The plan of its optimizer.
        surveyed: The module that it optimizes.
        cls: The wrapper's class.
        options: The wrapper's own options.
    """

    reading: Reading
    plan: Plan
    surveyed: Surveyed
    cls: type
    options: Mapping[str, Any]

    def build(self) -> BaseOptimWrapper:
        """Build the optimizer, and wrap it."""
        try:
            optimizer = build_planned(self.plan, self.surveyed)
        except ConfigError as error:
            raise error.moved(self.reading.paths) from error.__cause__
        wrapper = wrap(self.cls, self.options, optimizer)
        wrapper.plan = optimizer.plan  # type: ignore[attr-defined]  # a strategy may replace the optimizer
        base = getattr(wrapper, "base_param_settings", None)
        if base is None and optimizer.param_groups[0].get("lr") != optimizer.defaults.get("lr"):
            # MMEngine keeps the base LR beside the groups, for logs, only where there are several groups
            wrapper.base_param_settings = {"params": torch.tensor([0.0]), **optimizer.defaults}
        return wrapper


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimBuildConstructor:
    """Build the optimizer wrapper of an MMEngine runner from a plan.

    A config needs nothing but ``constructor='optimbuild.OptimBuildConstructor'`` in its ``optim_wrapper``. The keys
    ``optimizer`` and ``paramwise_cfg`` are read here, see :mod:`optimbuild.config.dialects.mmengine`; all others
    go to the wrapper. Without ``optimizer``, each key names a module of the model and holds the
    ``optim_wrapper`` of that module: an ``OptimWrapperDict`` with one plan each.

    Args:
        optim_wrapper_cfg: ``optim_wrapper`` of the config.
        paramwise_cfg: Its ``paramwise_cfg``; with several optimizers, it serves those without one.

    >>> import logging
    >>> from mmengine.optim import build_optim_wrapper
    >>> logging.disable()  # MMEngine logs to the standard output
    >>> wrapper = build_optim_wrapper(torch.nn.Linear(2, 2), {
    ...     "constructor": "optimbuild.OptimBuildConstructor",
    ...     "optimizer": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    ...     "paramwise_cfg": {"rules": [{"type": "no_decay"}]}})
    >>> [(group["param_names"], group["weight_decay"]) for group in wrapper.optimizer.param_groups]
    [(['weight'], 0.05), (['bias'], 0.0)]
    >>> logging.disable(logging.NOTSET)
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if not isinstance(optim_wrapper_cfg, Mapping):
            raise ConfigError(f"must be a mapping, not {shown(optim_wrapper_cfg)}", KEY)
        self._config = {
            key: value for key, value in optim_wrapper_cfg.items() if key not in ("paramwise_cfg", "constructor")
        }
        self._paramwise = paramwise_cfg

    def __call__(self, model: nn.Module) -> BaseOptimWrapper:
        """Plan, build and wrap.

        Args:
            model: The runner's model, bare or wrapped.

        Raises:
            OptimBuildError: The config is wrong somewhere, with the key's path, or the model cannot be
                planned. Nothing was changed.
        """
        if not wrappers_inside(self._config):
            each = _plan_wrapper(model, {**self._config, "paramwise_cfg": self._paramwise, "constructor": OURS}, KEY)
            wrapper = each.build()
            _log("", each.plan)
            return wrapper
        planned = self._plan_wrappers(model)
        wrappers = {name: each.build() for name, each in planned.items()}
        if any(each.plan.frozen for each in planned.values()):
            expect_no_gradients_of_frozen(model)
        for name, each in planned.items():
            _log(f"{name}: ", each.plan)
        return OptimWrapperDict(**wrappers)

    def _plan_wrappers(self, model: nn.Module) -> dict[str, _PlannedWrapper]:
        """Plan the optimizer of each module that the config names."""
        planned: dict[str, _PlannedWrapper] = {}
        config = {**dict(self._config.items()), "paramwise_cfg": self._paramwise, "constructor": OURS}
        for name, wrapper in each_wrapper(config).items():
            path = join(KEY, name)
            module, expressions = selection(name, wrapper, path)
            part = _module(model, module, path) if module else model
            planned[name] = _plan_wrapper(part, wrapper, path, several=True, expressions=expressions)
        _refuse_shared(planned)
        _warn_of_rest(model, planned)
        return planned


def _plan_wrapper(
    model: nn.Module, config: Mapping[str, Any], path: str, *, several: bool = False, expressions: tuple[str, ...] = ()
) -> _PlannedWrapper:
    optimizer = config.get("optimizer")
    if isinstance(optimizer, Mapping):
        import_scope(optimizer.get(SCOPE_OF))
        kind = optimizer.get("type")
        import_scope(kind.partition(".")[0] if isinstance(kind, str) and "." in kind else None)
    reading = of_wrapper(plain_wrapper(config, path), path, world_size=number_of_ranks(), several=several)
    reading = replace(reading, modules=expressions)
    options = {key: value for key, value in config.items() if key not in READ}
    cls = wrapper_class(options, path)
    refuse_wrong(cls, options, path)
    try:
        surveyed = survey(model)
        plan = plan_of_reading(reading, surveyed.inventory)
        surveyed = surveyed.part(plan.inventory) if expressions else surveyed
    except OptimBuildError as error:
        report_failure(reading.spec, error)
        raise
    return _PlannedWrapper(reading, plan, surveyed, cls, options)


def _module(model: nn.Module, name: str, path: str) -> nn.Module:
    inner = unwrapped(model)
    try:
        return inner.get_submodule(name)
    except AttributeError:
        children = [child for child, _ in inner.named_children()]
        close = closest(name, children) or children
        raise ConfigError(
            f"{type(inner).__name__} has no module {shown(name)}; closest: {listing(close, 5) or 'it has none at all'}",
            path,
        ) from None


def _refuse_shared(planned: Mapping[str, _PlannedWrapper]) -> None:
    owner: dict[int, tuple[str, str]] = {}
    for name, each in planned.items():
        for decision, tensor in zip(each.plan, each.surveyed.tensors, strict=True):
            if decision.frozen:
                continue
            other, theirs = owner.setdefault(id(tensor), (name, decision.name))
            if other != name:
                raise ConfigError(
                    f"{decision.name!r} of {name!r} is the same tensor as {theirs!r} of {other!r}, and both would "
                    "optimize it. Freeze it in one of them",
                    join(KEY, name),
                )


def _warn_of_rest(model: nn.Module, planned: Mapping[str, _PlannedWrapper]) -> None:
    taken = {id(tensor) for each in planned.values() for tensor in each.surveyed.tensors}
    everything = survey(model)
    pairs = zip(everything.inventory.params, everything.tensors, strict=True)
    rest = [param.name for param, tensor in pairs if param.trainable and id(tensor) not in taken]
    if rest:
        text = f"optimbuild: trainable, and in no optimizer: {listing(rest)}"
        print_log(text, logger="current", level=logging.WARNING)


def _log(prefix: str, plan: Plan) -> None:
    """Say in one line what was built, and every warning of the plan."""
    kernels = ", ".join(sorted({group.implementation for group in plan.groups}))
    optimizers = " and ".join(dict.fromkeys([group.optimizer for group in plan.groups]))
    frozen = f", {len(plan.frozen)} frozen" if plan.frozen else ""
    text = (
        f"optimbuild: {prefix}{optimizers} ({kernels}), {counted(len(plan) - len(plan.frozen), 'parameter')} in "
        f"{counted(len(plan.groups), 'group')}{frozen}; plan {plan.fingerprint[:12]}"
    )
    print_log(text, logger="current")
    for warning in plan.warnings:
        print_log(f"optimbuild: {prefix}{warning}", logger="current", level=logging.WARNING)
