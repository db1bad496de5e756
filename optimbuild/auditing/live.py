"""The groups of a living optimizer, whose parameters are known by identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.auditing.optimizer_kinds import kind_of
from optimbuild.build.kept_statistics import CHILD
from optimbuild.build.part import restricted
from optimbuild.build.unwrap import Unwrapped, model_in, optimizers_in
from optimbuild.checkpoint.built_optimizer import original_class
from optimbuild.checkpoint.named_optimizer import is_zero, steppers_of
from optimbuild.errors import ModelError
from optimbuild.messages import shown
from optimbuild.model.survey import Surveyed, survey
from optimbuild.plan.decision import MEMBER
from optimbuild.plan.plan import Plan


def found_live(optimizer: Any, model: Any) -> Found:
    """Return the groups of a living optimizer.

    Args:
        optimizer: As for :func:`~optimbuild.build.unwrap.optimizers_in`.
        model: The module that has the parameters, bare or wrapped.

    Raises:
        ModelError: There is no optimizer or no model, or the groups hold no parameter of it.
    """
    surveyed = survey(model_in(model))
    several = optimizers_in(optimizer)
    positions = {id(tensor): position for position, tensor in enumerate(surveyed.tensors)}
    groups = [
        group for number, (name, each) in enumerate(several.items()) for group in _groups(number, name, each, positions)
    ]
    if not any(group.positions for group in groups):
        raise ModelError(
            f"no group of this optimizer holds a parameter of {surveyed.inventory.model or 'the model'}: "
            f"{shown(optimizer)}. Give the model that it was made for"
        )
    classes = dict.fromkeys([type(group.stepper).__name__ for group in groups])
    return Found(
        surveyed.inventory,
        surveyed.tensors,
        groups,
        lambda group, position: group.stepper.state.get(surveyed.tensors[position]),
        modules=surveyed.modules,
        kept=_kept(surveyed),
        built=_built_plan(several, surveyed),
        source=f"the groups of a living {' and '.join(classes)}",
        sharded=any(is_zero(each.optimizer) for each in several.values()),
    )


def _groups(number: int, name: str, given: Unwrapped, positions: Mapping[int, int]) -> list[FoundGroup]:
    inner: Any = given.optimizer.optim if is_zero(given.optimizer) else given.optimizer  # type: ignore[attr-defined]
    steppers, found = steppers_of(given.optimizer), []
    for index, (group, tensors) in enumerate(zip(given.optimizer.param_groups, given.params, strict=False)):
        stepper = steppers.get(str(group.get(MEMBER)), inner)
        entries = {key: value for key, value in group.items() if key != "params"}
        known = [positions.get(id(tensor)) for tensor in tensors]
        found.append(
            FoundGroup(
                f"group {index} of {name!r}" if name else f"group {index}",
                number,
                stepper,
                kind_of(original_class(type(stepper)), entries),
                entries,
                [position for position in known if position is not None],
                [tuple(t.shape) for t, position in zip(tensors, known, strict=True) if position is None],
            )
        )
    return found


def _kept(surveyed: Surveyed) -> tuple[str, ...]:
    """Return the modules whose running statistics stay: those that optimbuild keeps, or that are in eval mode alone."""
    modules = surveyed.modules
    return tuple([name for name in surveyed.inventory.statistics if _is_kept(modules[name], modules[""])])


def _is_kept(norm: nn.Module, model: nn.Module) -> bool:
    return CHILD in norm._modules or (model.training and not norm.training)


def _built_plan(several: Mapping[str, Unwrapped], surveyed: Surveyed) -> Plan | None:
    """Return the plan of an optimizer that optimbuild built, for the parameters of this model."""
    plan = next(iter(several.values())).plan
    if len(several) > 1 or plan is None:
        return None
    if plan.inventory.names == surveyed.inventory.names:
        return plan
    try:
        return restricted(plan, surveyed)[0]
    except ModelError:  # a plan of another model
        return None
