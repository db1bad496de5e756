"""Auditing a living optimizer: time over that of reading the model alone, up to a hundred thousand tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks import sides
from benchmarks.measuring import Effort, in_turn
from benchmarks.results import Result, Row, Target
from optimbuild import audit, inventory

ABOUT = """An audit of torch's AdamW with two groups and its state, on a model of many small experts, each with two
matrices and a norm. The inventory of the model alone is a part of it, and is there to compare."""

SIZES, QUICK = (1_000, 10_000, 100_000), (400,)
LAYERS, IN_EXPERT = 50, 4
MODEL = "the inventory alone"


def run(effort: Effort) -> Result:
    """Measure every size."""
    rows: list[Row] = []
    for size in QUICK if effort.quick else SIZES:
        model = experts(size)
        optimizer = stepped(model)
        jobs = {MODEL: lambda m=model: inventory(m), sides.OURS: lambda o=optimizer, m=model: audit(o, m)}
        rows += in_turn(f"{size:,} tensors", jobs, effort.fewer(5))
    found = {(row.case, row.side): row for row in rows}
    largest = rows[-1].case
    targets = [Target(f"audit over the inventory, {largest}", found[largest, sides.OURS].ratio or 0.0, 3)]
    if largest == "100,000 tensors":
        targets.append(Target("audit of 100,000 tensors", found[largest, sides.OURS].median, 2, unit="s"))
    return Result("audit", ABOUT, rows, targets)


class Expert(nn.Module):
    """Two matrices and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.norm = nn.LayerNorm(2)


def experts(tensors: int) -> nn.Module:
    """Return a model with so many tensors."""
    count = tensors // LAYERS // IN_EXPERT
    return nn.ModuleList([nn.ModuleList([Expert() for _ in range(count)]) for _ in range(LAYERS)])


def stepped(model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer of two groups, as many make it, after its first step."""
    groups: list[dict[str, Any]] = [
        {"params": [param for param in model.parameters() if param.ndim > 1]},
        {"params": [param for param in model.parameters() if param.ndim < 2], "weight_decay": 0.0},
    ]
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1, fused=True)
    optimizer.step()
    return optimizer
