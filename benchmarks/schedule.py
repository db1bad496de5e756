"""One step of an LR scheduler: its time grows with the number of groups."""

from __future__ import annotations

from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks import models, sides
from benchmarks.measuring import Effort, in_turn
from benchmarks.results import Result, Target
from benchmarks.step import one_each
from optimbuild import build_optimizer

ABOUT = """One `step()` of torch's `CosineAnnealingLR` over the groups that each layout has."""


def run(effort: Effort) -> Result:
    """Measure ViT-B under both layouts, and one single group."""
    name = models.TINY if effort.quick else "ViT-B"
    model = models.hugging_face(name)
    ours = build_optimizer(sides.config(sides.NO_DECAY, {"type": "layer_decay", "ratio": 0.8}), model)
    optimizers = {sides.OURS: ours, sides.PUBLISHED: one_each(ours), sides.FLOOR: sides.floor(model)}
    schedulers = {side: CosineAnnealingLR(optimizer, T_max=10**9) for side, optimizer in optimizers.items()}
    for optimizer in optimizers.values():
        optimizer._opt_called = True  # type: ignore[attr-defined]  # else the scheduler warns that no step was made
    rows = in_turn(name, {side: scheduler.step for side, scheduler in schedulers.items()}, effort)
    for row in rows:
        row.facts["groups"] = len(optimizers[row.side].param_groups)
    each = next(row for row in rows if row.side == sides.PUBLISHED)
    return Result("schedule", ABOUT, rows, [Target("time over one group per tensor", 1 / (each.ratio or 1.0), 1.0)])
