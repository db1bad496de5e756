"""What equal groups cost in each step, measured on this machine."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer
from torch.utils.benchmark import Timer

from optimbuild.auditing.settings import options_key
from optimbuild.build.unwrap import optimizers_in
from optimbuild.errors import ModelError

SECONDS = 0.2
"""How long each side is measured."""


class StepCost(NamedTuple):
    """The median time of a step, in seconds.

    Args:
        now: With the groups as they are.
        merged: With equal groups as one.
    """

    now: float
    merged: float


def step_cost(optimizer: Any) -> StepCost:
    """Measure a step of an optimizer, and one in which equal groups are one, on copies with gradients of zeros.

    While it measures, the tensors and the state of the optimizer are in memory three times.

    Args:
        optimizer: As for :func:`optimbuild.audit`, and a single one that can be copied.

    Raises:
        ModelError: There are several, or it cannot be copied, as one of ZeRO.

    >>> weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(20)]
    >>> cost = step_cost(torch.optim.SGD([{"params": [weight]} for weight in weights], lr=0.1))
    >>> cost.now > 0 and cost.merged > 0
    True
    """
    found = optimizers_in(optimizer)
    if len(found) > 1:
        raise ModelError(f"one optimizer is measured at a time, and there are {len(found)}: {', '.join(found)}")
    inner = next(iter(found.values())).optimizer
    as_it_is, merged = _copy(inner), _copy(inner)
    merged.param_groups = _merged(merged.param_groups)
    return StepCost(_seconds(as_it_is), _seconds(merged))


def _copy(optimizer: Optimizer) -> Optimizer:
    try:
        copied = copy.deepcopy(optimizer)
    except Exception as error:
        raise ModelError(f"this {type(optimizer).__name__} cannot be copied, so it is not measured: {error}") from error
    for group in copied.param_groups:
        for tensor in group["params"]:
            tensor.grad = torch.zeros_like(tensor) if tensor.requires_grad else None
    return copied


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return groups with equal ones as one."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        first = found.setdefault(options_key(group), {**group, "params": []})
        first["params"] = [*first["params"], *group["params"]]
    return list(found.values())


def _seconds(optimizer: Optimizer) -> float:
    optimizer.step()  # makes the state
    timer = Timer("optimizer.step()", globals={"optimizer": optimizer}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=SECONDS).median)
