"""What torch's fused SGD must have before it can step: momentum for all parameters of a group, or for none."""

from __future__ import annotations

from typing import Any

import torch

from optimbuild.checkpoint.named_optimizer import Held
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing

BUFFER = "momentum_buffer"


def complete_momentum(held: Held, fresh: dict[str, dict[str, Any]]) -> None:
    """Give the parameters that start afresh zero momentum, where others of their group have some.

    The fused kernel fails on a group in which only some parameters have a buffer, such as after one was
    unfrozen. From zero momentum the first step comes out the same as from none, where nothing is dampened.

    Args:
        held: The optimizer.
        fresh: The state that is about to be loaded, by name; it is completed.

    Raises:
        CheckpointError: The group has dampening, for which it would come out otherwise.
    """
    if not isinstance(held.local, torch.optim.SGD):
        return
    groups = held.optimizer.param_groups
    owned = dict(held.owned())
    fused = {
        name for name in owned if groups[held.group_of[name]].get("fused") and groups[held.group_of[name]]["momentum"]
    }
    warm = {name for name in fused if name in fresh or held.local.state.get(owned[name])}
    warm_groups = {held.group_of[name] for name in warm & fresh.keys()}
    cold = [name for name in owned if name in fused - warm and held.group_of[name] in warm_groups]
    dampened = [name for name in cold if groups[held.group_of[name]]["dampening"]]
    if dampened:
        raise CheckpointError(
            "fused SGD with dampening cannot start some parameters of a group afresh while others go on: "
            f"{listing(dampened)}. Set `implementation: foreach`. Nothing was loaded."
        )
    for name in cold:
        fresh[name] = {BUFFER: torch.zeros_like(owned[name], requires_grad=False)}
