"""The groups of optimizers that were saved in a file, whose parameters are known by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from optimbuild.auditing.checkpoint_files import optimizer_states
from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.auditing.saved_kinds import SavedKinds
from optimbuild.auditing.saved_parts import names_of_parts
from optimbuild.build.construct import construct_optimizer
from optimbuild.build.torch_groups import parameter_groups
from optimbuild.checkpoint.built_optimizer import give_plan
from optimbuild.checkpoint.group_options import IMPLEMENTATION
from optimbuild.checkpoint.known_names import KnownNames
from optimbuild.checkpoint.layouts import read_state
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.checkpoint.told import told_as
from optimbuild.errors import CheckpointError, ConfigError
from optimbuild.model.inventory import Inventory
from optimbuild.model.survey import Surveyed
from optimbuild.plan.make import make_plan
from optimbuild.plan.plan import Plan

ANY = {"optimizer": {"type": "adamw"}}
"""A config under which every model can be planned, for the names of its parameters and their known splits."""

PARTS = "unnamed, with state that fits the modules of one optimizer only"
"""How the parameters of several optimizers were told, in words."""

RECIPE = (
    "Save `param_names` in each of its groups (optimbuild.checkpoint.names_of gives them), or audit the live "
    "optimizer: optimbuild.audit(optimizer, model)."
)
"""What gives the names of saved groups that have none."""


def found_saved(
    path: str | os.PathLike[str],
    model: Inventory,
    against: Plan | None = None,
    *,
    optimizer: str = "",
    trust: bool = False,
) -> Found:
    """Return the groups of the optimizers that a checkpoint holds.

    Args:
        path: As for :func:`~optimbuild.auditing.checkpoint_files.optimizer_states`.
        model: The parameters of the model that was trained.
        against: A plan of this model, which may say what is frozen, how parameters are grouped, and the class.
        optimizer: The registered name of the optimizer's class, which most files do not say.
        trust: As there.

    Raises:
        CheckpointError: There is no optimizer's state, or nothing says which parameter is which.
        UnknownNameError: No optimizer has this name.
    """
    tensors = [_tensor(shape, dtype) for shape, dtype in ((p.shape, p.dtype) for p in model)]
    names = KnownNames(_stand_in(against or make_plan(ANY, _all_trained(model)), tensors), recipe=RECIPE)
    kinds = SavedKinds(optimizer, against)
    groups: list[FoundGroup] = []
    states: list[Mapping[str, Mapping[str, Any]]] = []
    layouts: dict[str, None] = {}
    found = optimizer_states(path, trust=trust)
    with told_as("this is no optimizer state"):
        parts = names_of_parts(found, model)
    for number, (place, state) in enumerate(found.items()):
        with told_as("this is no optimizer state"):
            saved = read_state(state, names, [parts[place]] if parts else None)
        groups += _groups(number, place, saved, model, kinds)
        states.append(saved.state)
        layouts[PARTS if parts else saved.layout] = None
    if not any(group.positions for group in groups):
        raise CheckpointError(f"no saved parameter is one of {model.model or 'the model'}: is it another model's?")
    return Found(
        model,
        tensors,
        groups,
        lambda group, position: states[group.optimizer].get(model.names[position]),
        kept=() if against is None else against.kept_statistics,
        source=f"a checkpoint ({', '.join(layouts)}){kinds.told()}",
    )


def _tensor(shape: Sequence[int], dtype: str) -> torch.Tensor:
    return torch.empty(shape, dtype=getattr(torch, dtype), device="meta")


def _all_trained(model: Inventory) -> Inventory:
    """Return a model; one whose own parameters are all frozen is planned as if they were trained."""
    if model.trainable:
        return model
    return replace(model, params=tuple([param._replace(trainable=True) for param in model]))


def _stand_in(plan: Plan, tensors: Sequence[torch.Tensor]) -> NamedOptimizer:
    """Return an optimizer of a plan, without data, which knows the names of the model and the ways to split them."""
    params = [nn.Parameter(tensor, requires_grad=False) for tensor in tensors]
    try:
        optimizer = construct_optimizer(plan, parameter_groups(plan, Surveyed(plan.inventory, params, [])))
    except ConfigError:  # such as ZeRO without ranks: a plan without it has the same names
        optimizer = torch.optim.SGD(params, lr=1.0)
    give_plan(optimizer, plan, None, None)
    return NamedOptimizer.of(optimizer)


def _groups(number: int, place: str, saved: SavedState, model: Inventory, kinds: SavedKinds) -> Iterator[FoundGroup]:
    for index, (entries, names) in enumerate(_by_group(saved)):
        known = [name for name in names if name in model]
        entries = {key: value for key, value in entries.items() if key not in {"params", *IMPLEMENTATION}}
        stepper = kinds.stepper(entries, known)
        strangers = [_shape(saved.state.get(name, {})) for name in names if name not in model]
        yield FoundGroup(
            f"group {index} of {place!r}" if place else f"group {index}",
            number,
            stepper,
            kinds.kind(entries, known),
            entries,
            model.positions(known),
            strangers,
        )


def _by_group(saved: SavedState) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return the groups of a save, each with its names. Saves by name have no groups; equal options count as one."""
    by_name = not any("params" in group for group in saved.groups.values())
    found: dict[Any, tuple[Mapping[str, Any], list[str]]] = {}
    for name, group in saved.groups.items():
        key = repr(sorted(group.items())) if by_name else id(group)
        found.setdefault(key, (group, []))[1].append(name)
    return list(found.values())


def _shape(state: Mapping[str, Any]) -> tuple[int, ...]:
    shapes = [tuple(value.shape) for value in state.values() if isinstance(value, torch.Tensor) and value.ndim]
    return shapes[0] if shapes else ()
