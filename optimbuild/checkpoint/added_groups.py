"""Groups that are added to a built optimizer later: names from its model, options from its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optimbuild.checkpoint.named_optimizer import steppers_of
from optimbuild.errors import CheckpointError
from optimbuild.messages import counted, listing
from optimbuild.model.survey import survey
from optimbuild.plan.decision import MEMBER, Setting
from optimbuild.plan.group_names import place_of, unique_names
from optimbuild.plan.plan import Plan
from optimbuild.plan.unfreezing import settings_if_trained
from optimbuild.registry import find_optimizer


def planned_groups(optimizer: Optimizer, plan: Plan, model: nn.Module | None, group: Any) -> list[dict[str, Any]]:
    """Return what is added for a group: with names, and one group per setting of the plan.

    Args:
        optimizer: The optimizer that the group is for.
        plan: Its plan.
        model: The module in which names are found; None where the optimizer does not know it.
        group: The group as its author gave it. What torch refuses anyhow is returned unchanged.

    Raises:
        CheckpointError: The group has no tensors, or one without a name that is not in the model.
    """
    given = group.get("params") if isinstance(group, dict) else None
    if given is None or isinstance(given, set):
        return [group]
    params = [given] if isinstance(given, torch.Tensor) else list(given)
    if not params:
        raise CheckpointError("the new group has no tensors, so there is nothing to add")
    pairs = [param if isinstance(param, tuple) else None for param in params]
    tensors = [param if pair is None else pair[-1] for param, pair in zip(params, pairs, strict=True)]
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        return [group | {"params": params}]
    if len(group.get("param_names") or ()) == len(params):
        names = [str(name) for name in group["param_names"]]
    else:
        names = _names(params, model)
    names = [planned_name(plan, name) for name in names]
    settings = _settings(plan, names)
    planned = _planned_optimizers(optimizer)
    options = [_options(optimizer, planned, name, settings.get(name), group.get(MEMBER)) for name in names]
    made = _split(group, names, tensors, options)
    _refuse_wrong_tensors(planned, made)
    return _named(made, {str(each["name"]) for each in optimizer.param_groups if "name" in each})


def _named(groups: list[dict[str, Any]], taken: set[str]) -> list[dict[str, Any]]:
    """Return groups with a name each: that of their author, or of the module that their parameters are in."""
    wanted = [str(group.get("name") or place_of(group["param_names"]) or "added") for group in groups]
    return [{**group, "name": name} for group, name in zip(groups, unique_names(wanted, taken), strict=True)]


def planned_name(plan: Plan, name: str) -> str:
    """Return what the plan calls a parameter: a tensor that a part of a model ties to another has a name there too."""
    if name not in plan.inventory:
        return name
    return plan.inventory.params[plan.inventory.position(name)].name


class _StandIn(Optimizer):
    """An optimizer that only takes groups."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise NotImplementedError


def refuse_groups(optimizer: Optimizer, groups: list[dict[str, Any]]) -> None:
    """Find out whether an optimizer can take all of some groups, before it takes one of them.

    Args:
        optimizer: The optimizer, which stays as it is.
        groups: What shall be added.

    Raises:
        CheckpointError: A name is in the optimizer already, or twice in the groups.
        ValueError, TypeError: Torch refuses a group.
    """
    stand_in = _StandIn([torch.zeros(0)], optimizer.defaults)
    stand_in.param_groups = list(optimizer.param_groups)
    for group in groups:
        stand_in.add_param_group(dict(group))
    taken = {name for group in optimizer.param_groups for name in group.get("param_names", ())}
    again = []
    for name in [name for group in groups for name in group.get("param_names", ())]:
        if name in taken:
            again.append(name)
        taken.add(name)
    if again:
        raise CheckpointError(
            f"the names of {counted(len(again), 'parameter')} are in the optimizer already, or twice in the new group: "
            f"{listing(again)}. Nothing was added."
        )


def _names(params: list[Any], model: nn.Module | None) -> list[str]:
    """Return the names that were given, and those of the model for tensors that have none."""
    known: dict[int, str] = {}
    if model is not None and not all(isinstance(param, tuple) for param in params):
        surveyed = survey(model)
        known = {id(tensor): name for tensor, name in zip(surveyed.tensors, surveyed.inventory.names, strict=True)}
    names = [param[0] if isinstance(param, tuple) else known.get(id(param)) for param in params]
    unknown = [str(tuple(param.shape)) for param, name in zip(params, names, strict=True) if name is None]
    if unknown:
        where = "the optimizer's model" if model is not None else "a model that the optimizer still knows"
        raise CheckpointError(
            f"{counted(len(unknown), 'tensor')} of the new group without a name, and no parameter of {where}: shapes "
            f"{listing(unknown, 5)}. Give each with its name: "
            'optimizer.add_param_group({"params": [("head.weight", head.weight), ("head.bias", head.bias)]})'
        )
    return [str(name) for name in names]


def _settings(plan: Plan, names: list[str]) -> Mapping[str, Any]:
    known = [name for name in names if name in plan]
    return settings_if_trained(plan, known) if known else {}


def _options(
    optimizer: Optimizer, planned: set[str | None], name: str, setting: Setting | None, chosen: str | None
) -> dict[str, Any]:
    """Return the options of a setting that its optimizer has; none where another optimizer was chosen for the group.

    Raises:
        CheckpointError: This optimizer was built without the one of the setting.
    """
    if setting is None or chosen not in (None, setting.optimizer):
        return {}
    steppers = steppers_of(optimizer)
    built = set(steppers) if len(steppers) > 1 else planned
    if built and setting.optimizer not in built:
        raise CheckpointError(
            f"the plan has {name!r} trained by {setting.optimizer}, and this optimizer was built without it: there was "
            "no such parameter to train. Build an optimizer anew, with the parameter unfrozen in the config"
        )
    defaults = steppers.get(str(setting.optimizer), optimizer).defaults
    kind, planned_options = find_optimizer(str(setting.optimizer)), setting.options or {}
    options = {k: v for k, v in planned_options.items() if k in defaults or k not in kind.known}  # marks stay
    return options if len(steppers) == 1 else {**options, MEMBER: setting.optimizer}


def _planned_optimizers(optimizer: Any) -> set[str | None]:
    """Return the names of the optimizers that a plan gives to the parameters of an optimizer."""
    names = [name for group in optimizer.param_groups for name in group.get("param_names", ())]
    return {optimizer.plan[name].optimizer for name in names if name in optimizer.plan} - {None}


def _refuse_wrong_tensors(own: set[str | None], groups: list[dict[str, Any]]) -> None:
    """Refuse tensors that their optimizer does not take, such as a vector for Muon.

    Raises:
        CheckpointError: There is one.
    """
    for group in groups:
        by = group.get(MEMBER) or (next(iter(own)) if len(own) == 1 else None)
        dimensions = find_optimizer(by).dimensions if isinstance(by, str) and by in own else None
        for name, tensor in zip(group.get("param_names", ()), group["params"], strict=False):
            if dimensions is not None and tensor.ndim != dimensions:
                raise CheckpointError(
                    f"{by} takes tensors of {counted(dimensions, 'dimension')}, and {name!r} has {tensor.ndim}"
                )


def _split(
    group: dict[str, Any], names: list[str], tensors: list[torch.Tensor], options: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return a group for each distinct set of options; what its author gave counts for all of them."""
    found: dict[str, dict[str, Any]] = {}
    for name, tensor, planned in zip(names, tensors, options, strict=True):
        complete = {**planned, **{key: value for key, value in group.items() if key not in ("params", "param_names")}}
        key = repr(sorted(complete.items()))
        one = found.setdefault(key, {"params": [], "param_names": [], **complete})
        one["params"].append(tensor)
        one["param_names"].append(name)
    return list(found.values())
