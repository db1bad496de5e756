"""What ``zero`` needs: a process group, and a model whose tensors can be sent as they are."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import torch
import torch.distributed as dist

from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model.full_shapes import is_flattened
from optimbuild.model.survey import Surveyed
from optimbuild.plan.partition import one_bucket
from optimbuild.plan.plan import Plan


def has_process_group() -> bool:
    """Say whether this process has joined a process group."""
    return dist.is_available() and dist.is_initialized()


def require_process_group() -> None:
    """Raise a ConfigError that shows how to start several processes, where there is no process group."""
    if has_process_group():
        return
    script = os.path.basename(sys.argv[0]) if sys.argv[0].endswith(".py") else "train.py"
    raise ConfigError(
        "sharding needs a process group, and there is none. Start the script with "
        f"`torchrun --nproc-per-node 2 {script}` (as many processes as you have devices), and call "
        "torch.distributed.init_process_group() before build_optimizer",
        "zero",
    )


def refuse_sharded_model(surveyed: Surveyed) -> None:
    """Raise a ConfigError where the tensors of a model are shards already.

    Args:
        surveyed: The module.
    """
    pairs = [(p.name, tensor) for p, tensor in zip(surveyed.inventory.params, surveyed.tensors, strict=True)]
    shards = {
        "FSDP2 or tensor parallelism (DTensor)": [name for name, _ in pairs if name in surveyed.inventory.sharded],
        "FSDP": [name for name, tensor in pairs if is_flattened(tensor)],
        "DeepSpeed": [name for name, tensor in pairs if hasattr(tensor, "ds_id")],
    }
    for how, names in shards.items():
        if names:
            raise ConfigError(
                f"the model is sharded already, by {how}, and its optimizer state with it: {listing(names, 5)}. "
                "Leave `zero` off; build_optimizer works on a sharded model as it is",
                "zero",
            )


def bucket_view_of(plan: Plan, surveyed: Surveyed) -> tuple[Plan, bool]:
    """Return whether the parameters of a rank can share one flat buffer, which the layout of the tensors decides.

    Args:
        plan: A plan with ``zero``.
        surveyed: The module behind it.

    Returns:
        The plan, with the reason in its notes where only the layout prevents a bucket view; and whether it has one.

    Raises:
        ConfigError: A parameter is a view with gaps, and without a bucket view no rank can send it.
    """
    frozen, bucket_view = set(plan.frozen), one_bucket(plan.spec, plan.trainable_dtypes)
    pairs = zip(surveyed.inventory.params, surveyed.tensors, strict=True)
    odd = [(p.name, tensor) for p, tensor in pairs if p.name not in frozen and not tensor.is_contiguous()]
    dense = [name for name, tensor in odd if _without_gaps(tensor)]
    if dense and bucket_view:
        why = f"zero: no bucket view, because it would lose the memory format of {listing(dense, 5)}"
        plan, bucket_view = replace(plan, notes=(*plan.notes, why)), False
    if len(dense) < len(odd) and not bucket_view:
        raise ConfigError(
            "these parameters are views with gaps between their elements, which no rank can send to another: "
            f"{listing([name for name, _ in odd if name not in dense], 5)}. Make them contiguous before the build",
            "zero",
        )
    return plan, bucket_view


def _without_gaps(tensor: torch.Tensor) -> bool:
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in pairs) == tensor.numel()
