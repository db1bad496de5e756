"""Optimizers, their plans and models out of wrappers: accelerate, MMEngine, Lightning, DeepSpeed, and trainers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from optimbuild.errors import ModelError
from optimbuild.messages import listing, shown
from optimbuild.plan.plan import Plan

DEEPEST = 8
"""How many wrappers may be around each other."""

INSIDE = ("optimizer", "optim_wrapper")
"""Where wrappers and trainers keep an optimizer."""

SEVERAL = ("optim_wrappers", "optimizers")
"""Where they keep several: a list, a mapping of names, or a function that returns one of these."""

SIXTEEN_BIT_GROUPS = ("bit16_groups", "bf16_groups", "fp16_groups")
"""Where DeepSpeed's optimizers keep the model's own tensors by group; the groups inside hold flat copies of them."""


WHEN = "Trainers make theirs when training starts"


class Unwrapped(NamedTuple):
    """An optimizer without its wrappers.

    Args:
        optimizer: Torch's.
        params: The model's tensors by group; those of the groups, unless a wrapper keeps flat copies there.
        plan: The plan of one that optimbuild built.
    """

    optimizer: Optimizer
    params: list[list[torch.Tensor]]
    plan: Plan | None


def plan_of(given: Any) -> Plan:
    """Return the plan of an optimizer that optimbuild built, through whatever is around it.

    Args:
        given: The optimizer; a wrapper of accelerate, MMEngine, Lightning or DeepSpeed; or what has the optimizer, such
            as a scheduler, an engine, a runner or a trainer.

    Raises:
        ModelError: There is no optimizer, more than one, or one that somebody else built.

    >>> from optimbuild import build_optimizer
    >>> optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1}}, torch.nn.Linear(2, 2))
    >>> plan_of(torch.optim.lr_scheduler.ConstantLR(optimizer)) is optimizer.plan
    True
    """
    if isinstance(given, Plan):
        return given
    found = optimizers_in(given)
    if len(found) > 1:
        raise ModelError(
            f"{shown(given)} has several optimizers, {listing(list(map(repr, found)))}, each with a plan. Give one"
        )
    ((optimizer, _, plan),) = found.values()
    if plan is None:
        raise ModelError(
            f"{type(optimizer).__name__} was not built by optimbuild, so it has no plan. "
            "optimbuild.audit(optimizer, model).plan is the plan that it amounts to"
        )
    return plan


def plans_in(given: Any) -> dict[str, tuple[Unwrapped, Plan]]:
    """Return the optimizers that optimbuild built in whatever holds them, with their plans; a single one has no name.

    Raises:
        ModelError: There is no optimizer at all.
    """
    return {name: (each, each.plan) for name, each in optimizers_in(given).items() if each.plan is not None}


def optimizers_in(given: Any) -> dict[str, Unwrapped]:
    """Return the optimizers in whatever holds them, by name; the name of a single one is empty.

    Args:
        given: As for :func:`plan_of`, or a list or a mapping of these.

    Raises:
        ModelError: There is none.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> list(optimizers_in([torch.optim.SGD([weight], lr=0.1), torch.optim.SGD([weight], lr=0.1)]))
    ['0', '1']
    """
    several = _several(given)
    if several is None:
        return {"": _unwrapped(given)}
    found = {name: _unwrapped(each) for name, each in several.items()}
    if not found:
        raise ModelError(f"an optimizer is needed, and there is none in {shown(given)}. {WHEN}")
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _several(given: Any) -> dict[str, Any] | None:
    """Return the optimizers of what holds several, by name."""
    for layer in _layers(given):
        for key in () if isinstance(layer, Optimizer) else SEVERAL:
            inner = getattr(layer, key, None)
            if callable(inner) and isinstance(layer, torch.nn.Module):
                inner = _answer(inner)
            if isinstance(inner, (Mapping, list, tuple)):
                return _by_name(inner)
    return _by_name(given)


def _by_name(given: Any) -> dict[str, Any] | None:
    if isinstance(given, Mapping):
        return {str(name): each for name, each in given.items()}
    return {str(i): each for i, each in enumerate(given)} if isinstance(given, (list, tuple)) else None


def _answer(optimizers: Any) -> Any:
    """Return what a module of Lightning answers; it has no optimizers before a trainer made them."""
    try:
        found = optimizers()
    except Exception:  # noqa: BLE001  # any module may have a method of this name
        return None
    return [found] if isinstance(found, Optimizer) else found


def _layers(given: Any) -> Iterator[Any]:
    """Yield something and, one after the other, what is inside it, down to torch's optimizer."""
    for _ in range(DEEPEST):
        yield given
        inner = next((found for key in INSIDE if (found := getattr(given, key, None)) is not None), None)
        if inner is None or inner is given:
            return
        given = inner


def _unwrapped(given: Any) -> Unwrapped:
    layers = list(_layers(given))
    inner = layers[-1]
    if not isinstance(inner, Optimizer):
        raise ModelError(
            f"a torch.optim.Optimizer is needed, what wraps one, or several of them, not {shown(given)}. {WHEN}"
        )
    params = next(filter(None, map(_of_deepspeed, layers)), None)
    plan = next((plan for layer in layers if isinstance(plan := getattr(layer, "plan", None), Plan)), None)
    return Unwrapped(inner, params or [list(group["params"]) for group in inner.param_groups], plan)


def _of_deepspeed(wrapper: Any) -> list[list[torch.Tensor]] | None:
    """Return the model's tensors by group as an optimizer of DeepSpeed keeps them; None for all others."""
    if not type(wrapper).__module__.startswith("deepspeed."):
        return None
    found: Iterable[Any] | None = next(filter(None, [getattr(wrapper, key, None) for key in SIXTEEN_BIT_GROUPS]), None)
    return None if found is None else [list(group) for group in found]


def model_in(given: Any) -> Any:
    """Return the model in an engine of DeepSpeed; any other module is returned itself, wrapped or not."""
    deepspeed = sys.modules.get("deepspeed")
    engine = getattr(deepspeed, "DeepSpeedEngine", None)
    return given.module if engine is not None and isinstance(given, engine) else given
