"""The momentum of torch's fused SGD: all parameters of a group must have some before a step, or none.

Otherwise the kernel ends in a ``TypeError`` in the middle of the step (seen in torch 2.13). It happens where a
parameter gets its first gradient later than its group, and where one was unfrozen since the save. Zero momentum
helps: the first step from it is the same as from none, where nothing is dampened.
"""

from __future__ import annotations

from typing import Any

import torch

from optimbuild.checkpoint.named_optimizer import NamedOptimizer, steppers_of
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing

BUFFER = "momentum_buffer"


def start_late_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Let a parameter's first gradient come after the first step of its group.

    Such a parameter starts from zero momentum. With one group per tensor torch never fails; with merged groups it
    must not either.

    Args:
        optimizer: Any optimizer; only torch's SGD gets the hook, also inside ZeRO, and as one of several.
    """
    for inner in steppers_of(optimizer).values():
        if isinstance(inner, torch.optim.SGD):
            inner.register_step_pre_hook(_give_momentum)


def _give_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    state = optimizer.state
    for group in optimizer.param_groups:
        if not group["fused"] or not group["momentum"]:
            continue
        params = group["params"]
        kept = zip(params, map(state.get, params), strict=True)
        without = [tensor for tensor, found in kept if found is None or found.get(BUFFER) is None]
        late = [tensor for tensor in without if tensor.grad is not None]
        if late and len(late) < sum([tensor.grad is not None for tensor in params]):
            for tensor in late:
                state[tensor][BUFFER] = torch.zeros_like(tensor, memory_format=torch.preserve_format)


def complete_momentum(named: NamedOptimizer, fresh: dict[str, dict[str, Any]]) -> None:
    """Give zero momentum to the parameters that start afresh in a group where others resume with some.

    Args:
        named: The optimizer.
        fresh: The state that is about to be loaded, by name; it is completed.

    Raises:
        CheckpointError: The group has dampening, with which the first step would differ.
    """
    groups = named.optimizer.param_groups
    of_sgd = [isinstance(named.stepper(group), torch.optim.SGD) for group in groups]
    if not any(of_sgd):
        return
    owned = dict(named.owned())
    is_fused = [sgd and group.get("fused") and group["momentum"] for sgd, group in zip(of_sgd, groups, strict=True)]
    fused = {name for name in owned if is_fused[named.group_of[name]]}
    warm_groups = {named.group_of[name] for name in fused & fresh.keys()}
    cold = [name for name in owned if name in fused - fresh.keys() and named.group_of[name] in warm_groups]
    dampened = [name for name in cold if groups[named.group_of[name]]["dampening"]]
    if dampened:
        raise CheckpointError(
            "fused SGD with dampening cannot start some parameters of a group afresh while others go on: "
            f"{listing(dampened)}. Set `implementation: foreach`. Nothing was loaded."
        )
    for name in cold:
        fresh[name] = {BUFFER: torch.zeros_like(owned[name], requires_grad=False)}
