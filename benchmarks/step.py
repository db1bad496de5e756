"""One optimizer step: what the layout of the groups and the implementation cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import nn

from benchmarks import models, sides
from benchmarks.machine import free_memory, triad
from benchmarks.measuring import Effort, device, in_turn
from benchmarks.results import Result, Row, Target
from optimbuild import build_optimizer
from optimbuild.registry import find_optimizer

ABOUT = """One step of AdamW over models that hold gradients. *optimbuild* plans no_decay and layer_decay and
merges equal settings. The same settings with one group per tensor and torch's default implementation are what
InternVL, InternImage and MMEngine build. *One single group* with the implementation that we chose is the floor of
what groups can do. The triad moves as many bytes and computes next to nothing: what memory gives.
The second half lets our choice of implementation (`auto`) run against each implementation by itself, over numbers
of tensors and shapes, and says which one it chose. RMSprop is the example of a class without a fused kernel."""

TRIAD = "triad of the same bytes"
BYTES = 28
"""What a fused AdamW step moves for a float32 parameter: it reads parameter, gradient and two averages, and
writes all but the gradient."""

MANY = 100_000_000
"""Parameters from which a model gets fewer rounds."""

AUTO, DEFAULT = "auto", "torch's default"
CHOSEN = "implementation"
CLOSE = 1.05
"""How much slower than the fastest ``auto`` may be, in what is left of noise."""
PLAIN_SGD = "sgd without momentum"
"""One operation per tensor: there is nothing to fuse."""
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"type": "adamw", "lr": sides.LR},
    "sgd": {"type": "sgd", "lr": sides.LR},
    PLAIN_SGD: {"type": "sgd", "lr": sides.LR, "momentum": 0.0, "nesterov": False},
    "rmsprop": {"type": "RMSprop", "lr": sides.LR},
}
SIZES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1, (10,)),
    (1, (64, 64)),
    (1, (1000, 1000)),
    (4, (10,)),
    (20, (64, 64)),
    (200, (10,)),
    (200, (64, 64)),
    (200, (256, 256)),
    (1500, (16,)),
)


def run(effort: Effort) -> Result:
    """Measure real models, and then sizes."""
    names = [models.TINY] if effort.quick else models.REAL
    rows: list[Row] = []
    notes: list[str] = []
    for name in names:
        rows += _model(name, models.hugging_face(name), effort, notes)
    sizes = [
        row for kind in OPTIMIZERS for row in _sizes(kind, SIZES[:1] if effort.quick else SIZES, effort.fewer(15, 0.02))
    ]
    targets = [*_targets({(row.case, row.side): row for row in rows}), _worst(sizes)]
    return Result("step", ABOUT, [*rows, *sizes], targets, notes)


def _model(name: str, model: nn.Module, effort: Effort, notes: list[str]) -> list[Row]:
    tensors = list(model.parameters())
    numel = sum(tensor.numel() for tensor in tensors)
    ours = build_optimizer(sides.config(sides.NO_DECAY, {"type": "layer_decay", "ratio": 0.8}), model)
    chosen = ours.plan.groups[0].implementation  # type: ignore[attr-defined]
    optimizers = {sides.OURS: ours, sides.FLOOR: sides.floor(model, chosen), sides.PUBLISHED: one_each(ours)}
    if free_memory() > 24 * numel * 4:
        optimizers[sides.MMENGINE] = sides.mmengine(model)
    else:
        notes.append(f"{name} without MMEngine, whose layout is the same as one group per tensor: memory is short.")
    run_triad, moved = triad(min(BYTES * numel // 12, 50_000_000))
    found: dict[str, Callable[[], Any]] = {side: optimizer.step for side, optimizer in optimizers.items()}
    rows = in_turn(name, {**found, TRIAD: run_triad}, effort.fewer(7) if numel > MANY else effort.more())
    facts = {side: {"tensors": len(tensors), "groups": len(o.param_groups)} for side, o in optimizers.items()}
    return [_with_rate(row, numel, moved, facts.get(row.side, {})) for row in rows]


def _with_rate(row: Row, numel: int, moved: int, facts: dict[str, Any]) -> Row:
    """Add how many bytes a second a side moves; the triad is scaled to what the fused step moves."""
    scale = BYTES * numel / moved if row.side == TRIAD else 1.0
    ratio = None if row.ratio is None else row.ratio * scale
    rate = {"bandwidth": f"{BYTES * numel / (row.median * scale) / 1e9:.1f} GB/s"}
    median, spread, best = row.median * scale, row.spread * scale, row.best * scale
    return replace(row, median=median, spread=spread, best=best, ratio=ratio, facts=facts | rate)


def one_each(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return AdamW with the same settings, one group per tensor, and torch's default implementation."""
    settings = ("lr", "weight_decay", "betas", "eps")
    groups = [
        {"params": [tensor], **{key: group[key] for key in settings}}
        for group in optimizer.param_groups
        for tensor in group["params"]
    ]
    return torch.optim.AdamW(groups)


def _sizes(kind: str, sizes: Iterable[tuple[int, tuple[int, ...]]], effort: Effort) -> list[Row]:
    """Let ``auto`` run against each implementation by itself, all tensors in one group."""
    rows = []
    for count, shape in sizes:
        model = models.small(count, shape)
        auto = _optimizer(kind, model, AUTO)
        found: dict[str, Callable[[], Any]] = {AUTO: auto.step}
        possible = (*find_optimizer(OPTIMIZERS[kind]["type"]).implementations, DEFAULT)
        for implementation in possible:
            found[implementation] = _optimizer(kind, model, implementation).step
        chosen = auto.plan.groups[0].implementation  # type: ignore[attr-defined]
        case = f"{kind}, {count} × {'×'.join(map(str, shape))}"
        measured = in_turn(case, found, effort)
        if _slowdown(measured, chosen)[0] > CLOSE:  # the machine's other work, or a wrong choice: look longer
            measured = in_turn(case, found, effort.more())
        measured[0].facts[CHOSEN] = chosen
        rows += measured
    return rows


def _slowdown(rows: list[Row], chosen: str) -> tuple[float, str]:
    """Return the time of ``auto`` over the fastest of what it did not choose, both at their best, and who that was.

    Steps of some microseconds are compared at their best, as :mod:`timeit` advises.
    """
    auto, *others = rows
    fastest = min([row for row in others if row.side != chosen], key=lambda row: row.best)
    return auto.best / fastest.best, fastest.side


def _optimizer(kind: str, model: nn.Module, implementation: str) -> torch.optim.Optimizer:
    if implementation != DEFAULT:
        return build_optimizer({"optimizer": OPTIMIZERS[kind], "implementation": implementation}, model)
    plain = build_optimizer({"optimizer": OPTIMIZERS[kind]}, model)
    (group,) = plain.param_groups
    options = {key: value for key, value in group.items() if key in ("lr", "weight_decay", "momentum", "nesterov")}
    return type(plain)(group["params"], **options)


def _worst(rows: list[Row]) -> Target:
    """Return the target of the grid: nowhere is another implementation faster than the one that we choose."""
    cases = [list(found) for _, found in groupby(rows, key=lambda row: row.case)]
    ratio, side, case = max((*_slowdown(found, found[0].facts[CHOSEN]), found[0].case) for found in cases)
    text = f"`auto` over the fastest of the others, at their best, the worst of all sizes ({case}: {side})"
    return Target(text, ratio, CLOSE)


def _targets(rows: dict[tuple[str, str], Row]) -> list[Target]:
    targets = []
    for name in (models.TINY, "ViT-B"):
        if (name, sides.OURS) not in rows:
            continue
        each, single = rows[name, sides.PUBLISHED].ratio or 0.0, rows[name, sides.FLOOR].ratio or 1.0
        targets += [
            Target(f"{name}: throughput over one group per tensor, default implementation", each, 4.0, at_most=False),
            Target(f"{name}: time over one single group with the same implementation", 1 / single, 1.03),
        ]
        if device().type == "cpu":
            share = rows[name, TRIAD].ratio or 0.0
            targets.append(Target(f"{name}: share of the triad's bandwidth", share, 0.85, at_most=False))
    return targets
