"""Optimizers and models out of their wrappers: accelerate, MMEngine, Lightning, DeepSpeed, and trainers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from optimbuild.errors import ModelError
from optimbuild.messages import shown

DEEPEST = 8
"""How many wrappers may be around each other."""

SIXTEEN_BIT_GROUPS = ("bit16_groups", "bf16_groups", "fp16_groups")
"""Where DeepSpeed's optimizers keep the model's own tensors by group; the groups inside hold flat copies of them."""


class Unwrapped(NamedTuple):
    """An optimizer without its wrappers.

    Args:
        optimizer: Torch's.
        params: The model's tensors by group; those of the groups, unless a wrapper keeps flat copies there.
    """

    optimizer: Optimizer
    params: list[list[torch.Tensor]]


def optimizers_in(given: Any) -> dict[str, Unwrapped]:
    """Return the optimizers in whatever holds them, by name; the name of a single one is empty.

    Args:
        given: A torch optimizer; a wrapper of accelerate, MMEngine, Lightning or DeepSpeed; what has ``optimizer`` or
            ``optimizers``, such as a trainer; or a list or a mapping of these.

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
        raise ModelError(f"an audit needs an optimizer, and there is none in {shown(given)}")
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _several(given: Any) -> dict[str, Any] | None:
    """Return the optimizers of what holds several, by name."""
    if isinstance(given, Optimizer):
        return None
    for key in ("optim_wrappers", "optimizers"):
        inner = getattr(given, key, None)
        if isinstance(inner, (Mapping, list, tuple)):
            given = inner
            break
    if isinstance(given, Mapping):
        return {str(name): each for name, each in given.items()}
    return {str(i): each for i, each in enumerate(given)} if isinstance(given, (list, tuple)) else None


def _unwrapped(given: Any) -> Unwrapped:
    inner, params = given, None
    for _ in range(DEEPEST):
        params = _of_deepspeed(inner) if params is None else params
        further = getattr(inner, "optimizer", None)
        if further is None or further is inner:
            break
        inner = further
    if not isinstance(inner, Optimizer):
        raise ModelError(
            f"an audit needs a torch.optim.Optimizer, what wraps one, or several of them, not {shown(given)}"
        )
    return Unwrapped(inner, params or [list(group["params"]) for group in inner.param_groups])


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
