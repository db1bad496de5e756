"""Ranks that shard an optimizer build the same on each of them, or all of them raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from optimbuild.build.zero.requirements import (
    bucket_view_of,
    has_process_group,
    refuse_sharded_model,
    require_process_group,
)
from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.model.survey import Surveyed
from optimbuild.plan.diff import PlanDiff
from optimbuild.plan.plan import Plan


@dataclass(frozen=True)
class RankReport:
    """What one rank is about to build; it must be the same on all of them.

    Args:
        error: Why this rank cannot build; empty if it can.
        plan: The plan's fingerprint.
        kernels: What the fingerprint leaves out: the implementation and the dtypes of each group.
        bucket_view: Whether the parameters of a rank share one flat buffer.
    """

    error: str = ""
    plan: str = ""
    kernels: tuple[Any, ...] = ()
    bucket_view: bool = False


def agree(plan: Plan, surveyed: Surveyed) -> tuple[Plan, bool]:
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
        refuse_sharded_model(surveyed)
        plan, bucket_view = bucket_view_of(plan, surveyed)
    except OptimBuildError as error:
        report_failure(plan.spec, error)
        raise
    report = RankReport("", plan.fingerprint, _kernels(plan), bucket_view)
    reports = _gather(report)
    _refuse_failures(reports)
    if any(other != report for other in reports):
        raise ConfigError(_difference(_gather((_options_by_name(plan), bucket_view))), "zero")
    return plan, bucket_view


def report_failure(spec: Spec, error: Exception) -> None:
    """Tell the other ranks, which wait in :func:`agree`, that this one cannot build.

    Args:
        spec: The canonical config; without ``zero`` nobody waits, and nothing happens.
        error: Why.
    """
    if spec.sharding is not None and has_process_group():
        _gather(RankReport(error=_words(error)))


def refuse_failure_on_any_rank(error: Exception | None) -> None:
    """Raise this rank's error, or that another rank has one; a collective, called by every rank.

    Args:
        error: What this rank's construction raised; None if it succeeded.

    Raises:
        ConfigError: Another rank failed.
    """
    reports = _gather(RankReport(error=_words(error) if error else ""))
    if error is not None:
        raise error
    _refuse_failures(reports)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _kernels(plan: Plan) -> tuple[Any, ...]:
    dtypes = {param.name: param.dtype for param in plan.inventory.params}
    return tuple((group.implementation, tuple([dtypes[name] for name in group.params])) for group in plan.groups)


def _options_by_name(plan: Plan) -> dict[str, Mapping[str, Any] | None]:
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


def _refuse_failures(reports: Sequence[RankReport]) -> None:
    failed = {rank: report.error for rank, report in enumerate(reports) if report.error}
    if failed:
        what = "; ".join(f"rank {rank}: {error}" for rank, error in failed.items())
        raise ConfigError(f"nothing was built, because not every rank can: {what}", "zero")


def _gather(mine: Any) -> list[Any]:
    """Return what each rank reports, by rank."""
    reports: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(reports, mine)
    return reports
