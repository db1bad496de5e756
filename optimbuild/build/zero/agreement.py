"""ZeRO and its neighbours: what must hold before ranks shard a plan's optimizer state, and DeepSpeed's share of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import listing
from optimbuild.model.survey import Surveyed
from optimbuild.plan.diff import PlanDiff
from optimbuild.plan.partition import one_bucket
from optimbuild.plan.plan import Plan

if TYPE_CHECKING:
    from optimbuild.build.zero.optimizer import ZeroOptimizer


@dataclass(frozen=True)
class Stand:
    """Where one rank stands before a build: what must be the same on all of them.

    Args:
        error: Why this rank cannot build, or nothing.
        plan: The plan's fingerprint.
        tensors: What the fingerprint leaves out: dtypes and implementations, in group order.
        bucket_view: Whether parameters are kept in one flat buffer.
    """

    error: str = ""
    plan: str = ""
    tensors: tuple[Any, ...] = ()
    bucket_view: bool = False


def agreed(plan: Plan, surveyed: Surveyed) -> tuple[Plan, bool]:
    """Make sure that all ranks are about to build the same; a collective, called by every rank.

    Args:
        plan: This rank's plan.
        surveyed: The module behind it.

    Returns:
        The plan, with the reason in its notes where this model cannot have a bucket view after all; and
        whether it has one.

    Raises:
        ConfigError: On every rank, where there is no process group, the model is sharded already,
            the ranks differ (names the parameters), or one of them cannot build.
    """
    require_process_group()
    try:
        refuse_sharded(surveyed)
        plan, bucket_view = _bucket_view(plan, surveyed)
    except OptimBuildError as error:
        tell(plan.spec, error)
        raise
    stand = Stand("", plan.fingerprint, _tensors(plan), bucket_view)
    stands = _exchange(stand)
    _refuse_failures(stands)
    if any(other != stand for other in stands):
        raise ConfigError(_difference(_exchange((_table(plan), bucket_view))), "zero")
    return plan, bucket_view


def tell(spec: Spec, error: Exception) -> None:
    """Let the other ranks, which wait in :func:`agreed`, know that this one cannot build.

    Args:
        spec: The canonical config; without ``zero`` nobody waits, and nothing happens.
        error: Why.
    """
    if spec.sharding is not None and _has_process_group():
        _exchange(Stand(error=f"{type(error).__name__}: {error}"))


def sharded(cls: type, groups: list[dict[str, Any]], options: Mapping[str, Any], bucket_view: bool) -> ZeroOptimizer:
    """Wrap an optimizer class, all groups at once; a collective, called by every rank.

    Args:
        cls: The optimizer's class.
        groups: The groups, the same on every rank.
        options: What the class is constructed with.
        bucket_view: Whether to keep parameters in one flat buffer.

    Raises:
        ConfigError: The class refuses the shard of another rank (an optimizer may mind some shapes).
    """
    from optimbuild.build.zero.optimizer import ZeroOptimizer  # costs time, and a torch built with torch.distributed

    failure: Exception | None = None
    try:
        optimizer = ZeroOptimizer(groups, cls, **options)
    except Exception as error:  # noqa: BLE001  # whatever it is, the other ranks must hear of it
        failure = error
    stands = _exchange(Stand(error=f"{type(failure).__name__}: {failure}" if failure else ""))
    if failure is not None:
        raise failure
    _refuse_failures(stands)
    if bucket_view:
        optimizer.fill_buckets()
    return optimizer


def require_process_group() -> None:
    """Raise a ConfigError that shows how to start several processes, where there is no process group."""
    if _has_process_group():
        return
    script = os.path.basename(sys.argv[0]) if sys.argv[0].endswith(".py") else "train.py"
    raise ConfigError(
        "sharding needs a process group, and there is none. Start the script with "
        f"`torchrun --nproc-per-node 2 {script}` (as many processes as you have devices), and call "
        "torch.distributed.init_process_group() before build_optimizer",
        "zero",
    )


def _has_process_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def refuse_sharded(surveyed: Surveyed) -> None:
    """Raise a ConfigError where the tensors of a model are shards already.

    Args:
        surveyed: The module.
    """
    pairs = [(p.name, tensor) for p, tensor in zip(surveyed.inventory.params, surveyed.tensors, strict=True)]
    shards = {
        "FSDP2 or tensor parallelism (DTensor)": [name for name, _ in pairs if name in surveyed.inventory.sharded],
        "FSDP": [name for name, tensor in pairs if getattr(tensor, "_fsdp_flattened", False)],
        "DeepSpeed": [name for name, tensor in pairs if hasattr(tensor, "ds_id")],
    }
    for how, names in shards.items():
        if names:
            raise ConfigError(
                f"the model is sharded already, by {how}, and its optimizer state with it: {listing(names, 5)}. "
                "Leave `zero` off; build_optimizer works on a sharded model as it is",
                "zero",
            )


def _bucket_view(plan: Plan, surveyed: Surveyed) -> tuple[Plan, bool]:
    """Return whether the parameters of a rank can share one buffer; only the tensors themselves show their layout."""
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


def _tensors(plan: Plan) -> tuple[Any, ...]:
    dtypes = {param.name: param.dtype for param in plan.inventory.params}
    return tuple((group.implementation, tuple([dtypes[name] for name in group.params])) for group in plan.groups)


def _table(plan: Plan) -> dict[str, Mapping[str, Any] | None]:
    """Return, for every parameter, everything in which ranks may differ."""
    groups = plan.groups
    return {
        d.name: None
        if d.options is None or d.group is None
        else {
            "shape": d.param.shape,
            "dtype": d.param.dtype,
            "implementation": groups[d.group].implementation,
            "optimizer": d.optimizer,
            **d.options,
        }
        for d in plan
    }


def _difference(tables: Sequence[tuple[dict[str, Any], bool]]) -> str:
    """Return in words how the ranks differ, the same words on each of them."""
    (first, first_view), *_ = tables
    others = [rank for rank, table in enumerate(tables) if table != tables[0] or list(table[0]) != list(first)]
    second, second_view = tables[others[0]]
    lines = PlanDiff.between(first, second).lines()
    if first_view != second_view:
        lines.append(f"bucket_view: {first_view} → {second_view}")
    if not lines:
        place = next(i for i, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1])
        lines.append(f"parameter {place} is {list(first)[place]} → {list(second)[place]}")
    more = f" (so do ranks {', '.join(map(str, others[1:]))})" if others[1:] else ""
    return (
        f"the ranks planned differently, and nothing was built. Rank {others[0]} differs from rank 0{more}: "
        f"{'; '.join(lines)}. Give every rank the same config and the same model"
    )


def _refuse_failures(stands: Sequence[Stand]) -> None:
    failed = {rank: stand.error for rank, stand in enumerate(stands) if stand.error}
    if failed:
        what = "; ".join(f"rank {rank}: {error}" for rank, error in failed.items())
        raise ConfigError(f"nothing was built, because not every rank can: {what}", "zero")


def _exchange(mine: Any) -> list[Any]:
    """Return what each rank says, by rank."""
    said: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(said, mine)
    return said
