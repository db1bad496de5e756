"""Flat shards, as FSDP1 leaves them in the place of parameters: no state by name can be made of one rank's."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from optimbuild.errors import CheckpointError
from optimbuild.model.full_shapes import is_flattened


def refuse_flat_shards(optimizer: Any) -> None:
    """Refuse an optimizer whose parameters FSDP1 has flattened, whatever the number of ranks.

    Args:
        optimizer: Any; what is no torch optimizer is left to others.

    Raises:
        CheckpointError: FSDP1 has flattened a parameter; the message says what to use instead.
    """
    groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
    if any(is_flattened(tensor) for group in groups for tensor in group["params"]):
        raise CheckpointError(
            "FullyShardedDataParallel (FSDP1) has flattened the parameters, and each rank holds a piece of them, of "
            "which no state by name can be made. Shard the model with FSDP2 (torch.distributed.fsdp.fully_shard), of "
            "which it can; or save and load with get_optimizer_state_dict and set_optimizer_state_dict of "
            "torch.distributed.checkpoint.state_dict"
        )
