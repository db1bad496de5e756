"""Parameters whose first gradient comes later than that of their group, under torch's fused SGD."""

from __future__ import annotations

from typing import Any

import torch

BUFFER = "momentum_buffer"


def start_late_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Let a parameter's first gradient come after the first step of its group.

    Torch's fused SGD steps a group only where all of its parameters have momentum, or none: one that was not used
    before ends in a ``TypeError`` (seen in torch 2.13). With one group a tensor that cannot happen, with
    merged groups it must not. Such a parameter starts from zero momentum, which gives the same first step.

    Args:
        optimizer: Any optimizer; only torch's SGD gets the hook, also inside ZeRO.
    """
    inner = getattr(optimizer, "optim", optimizer)
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
