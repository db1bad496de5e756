"""ZeRO over two real processes: what building and stepping cost there."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.utils.benchmark.utils.timer import timer as clock

from benchmarks import models, sides
from benchmarks.measuring import Effort, row_of
from benchmarks.results import Result, Row, Target
from optimbuild import build_optimizer

ABOUT = """Two ranks on this machine, joined by gloo on the loopback device; their tensors are on the CPU, and the
figures are those of rank 0. *One group per tensor* is the published layout: torch's `ZeroRedundancyOptimizer` made
from the first group, then `add_param_group` for each other one, without a bucket view. *Plain fused* is AdamW
without ZeRO on each rank. *Broadcast of the shards* sends as many bytes as a step of ZeRO does, in one message
from each rank, and computes nothing."""

RANKS = 2
PLAIN, BROADCAST = "plain fused", "broadcast of the shards"
BUILDS = (200, 400, 800, 1600)
QUICK = (10, 20)
SMALL = (400, (64, 64))
LARGE = (25, (2048, 2048))
"""A hundred and five million parameters."""


def run(effort: Effort) -> Result:
    """Start the ranks, and hand back what rank 0 measured."""
    with tempfile.TemporaryDirectory() as directory:
        answer = os.path.join(directory, "answer")
        mp.spawn(_rank, (os.path.join(directory, "store"), answer, effort), nprocs=RANKS)  # type: ignore[attr-defined, no-untyped-call]
        rows: list[Row] = torch.load(answer, weights_only=False)  # ours, written a moment ago
    return Result("zero", ABOUT, rows, _targets({(row.case, row.side): row for row in rows}))


def _rank(rank: int, store: str, answer: str, effort: Effort) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // RANKS))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=FileStore(store, RANKS), rank=rank, world_size=RANKS)
    try:
        rows = [row for count in (QUICK if effort.quick else BUILDS) for row in _builds(count, effort)]
        rows += _steps(*((20, (8, 8)) if effort.quick else SMALL), effort)
        if not effort.quick:
            rows += _steps(*LARGE, effort, everyone=False)
        if rank == 0:
            torch.save(rows, answer)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _together(case: str, found: dict[str, Callable[[], Any]], effort: Effort) -> list[Row]:
    """Measure in turn, the same number of runs on all ranks: a collective that one rank runs once more would hang."""
    samples: dict[str, list[float]] = {side: [] for side in found}
    numbers = {side: _agreed(max(1, int(effort.seconds / _seconds(run, 1)))) for side, run in found.items()}
    for turn in range(effort.rounds):
        for side in reversed(found) if turn % 2 else found:
            samples[side].append(_seconds(found[side], numbers[side]))
    against = next(iter(found))
    return [
        row_of(case, side, times, (against, samples[against]) if side != against else None)
        for side, times in samples.items()
    ]


def _seconds(run: Callable[[], Any], number: int) -> float:
    gc.collect()
    dist.barrier()
    start = clock()
    for _ in range(number):
        run()
    return (clock() - start) / number


def _agreed(number: int) -> int:
    tensor = torch.tensor([number])
    dist.all_reduce(tensor, dist.ReduceOp.MIN)
    return int(tensor)


def _builds(count: int, effort: Effort) -> list[Row]:
    """Build for so many tensors of two settings, as we do and as the published code does."""
    model = _model(count, (8, 8))
    found: dict[str, Callable[[], Any]] = {
        sides.OURS: lambda: build_optimizer(_config(zero=True), model),
        sides.PUBLISHED: lambda: _published(list(model.parameters())),
    }
    return _together(f"build, {count} tensors", found, effort.fewer(3 if count < 800 else 1))


def _steps(count: int, shape: tuple[int, ...], effort: Effort, everyone: bool = True) -> list[Row]:
    """Step so many tensors, each side with its own tensors."""
    ours = build_optimizer(_config(zero=True), _model(count, shape))
    plain = build_optimizer(_config(), _model(count, shape))
    numel = sum(tensor.numel() for group in plain.param_groups for tensor in group["params"])
    shard = torch.zeros(numel // RANKS)
    found: dict[str, Callable[[], Any]] = {PLAIN: plain.step, sides.OURS: ours.step, BROADCAST: lambda: _send(shard)}
    if everyone:
        found[sides.PUBLISHED] = _published(list(_model(count, shape).parameters())).step
    return _together(f"step, {count} × {'×'.join(map(str, shape))}", found, effort.more())


def _send(shard: torch.Tensor) -> None:
    for rank in range(RANKS):
        dist.broadcast(shard, rank)


def _model(count: int, shape: tuple[int, ...]) -> nn.Module:
    return models.small(count, shape, torch.device("cpu"))


def _config(**more: Any) -> dict[str, Any]:
    """Return a config with two settings, so that the groups are more than one."""
    return sides.config({"type": "match", "table": {"re:[02468]$": {"lr_mult": 0.1}}}, **more)


def _published(tensors: list[nn.Parameter]) -> ZeroRedundancyOptimizer:
    optimizer = ZeroRedundancyOptimizer(
        tensors[:1], optimizer_class=torch.optim.AdamW, lr=sides.LR, weight_decay=sides.WEIGHT_DECAY
    )
    for tensor in tensors[1:]:
        optimizer.add_param_group({"params": [tensor], "lr": sides.LR, "weight_decay": sides.WEIGHT_DECAY})
    return optimizer


def _targets(rows: dict[tuple[str, str], Row]) -> list[Target]:
    built = {
        int(case.split()[1]): row for (case, side), row in rows.items() if case[:5] == "build" and side == sides.OURS
    }
    fewest, most = min(built), max(built)
    growth = (built[most].median / most) / (built[fewest].median / fewest)
    targets = [Target(f"build: each of {most} tensors over each of {fewest}", growth, 1.3)]
    for case in dict.fromkeys(case for case, side in rows if side == BROADCAST):
        over_plain = {side: rows[case, side].ratio or 1.0 for at, side in rows if at == case}
        if sides.PUBLISHED in over_plain:
            faster = over_plain[sides.PUBLISHED] / over_plain[sides.OURS]
            targets.append(
                Target(f"{case}: how many times faster than the published layout", faster, 15, at_most=False)
            )
            targets.append(Target(f"{case}: time over the plain fused step", over_plain[sides.OURS], 1.5))
        else:
            bound = over_plain[PLAIN] + over_plain[BROADCAST]
            text = f"{case}: time over the plain fused step and the broadcast"
            targets.append(Target(text, over_plain[sides.OURS] / bound, 1.1))
    return targets
