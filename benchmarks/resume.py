"""Loading optimizer state by name, beside torch's own ``load_state_dict``."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import models, sides
from benchmarks.measuring import Effort, device, in_turn
from benchmarks.results import Result, Row, Target
from optimbuild import build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state

ABOUT = """Loading the state of AdamW into a fresh optimizer of the same model. Torch's side is
`torch.optim.AdamW.load_state_dict` of the same groups. Memory is how far the peak of a process rises above where
it stood before the load, counted in copies of the model's largest tensor (Linux only)."""

TORCH = "torch's load_state_dict"
OWN = "optimizer.load_state_dict"


def run(effort: Effort) -> Result:
    """Measure ViT-B (a small model where it shall be quick)."""
    name = models.TINY if effort.quick else "ViT-B"
    rows = in_turn(name, _loads(name), effort)
    notes, targets = [], [Target(f"{name}: time over torch's own", _ratio(rows, sides.OURS), 1.1)]
    if device().type == "cpu" and Path("/proc/self/clear_refs").exists():
        for side in (TORCH, sides.OURS):
            extra = _extra(name, side) if effort.quick else _in_new_process(name, side)
            rows.append(Row(name, f"{side}, extra memory", extra, unit="B"))
        largest = max(tensor.numel() for tensor in models.hugging_face(name).parameters()) * 4
        targets.append(Target(f"{name}: extra memory, in copies of the largest tensor", extra / largest, 1.0))
    else:
        notes.append("Extra memory is measured on the CPU and on Linux only.")
    return Result("resume", ABOUT, rows, targets, notes)


def _ratio(rows: list[Row], side: str) -> float:
    return next(row.ratio or 0.0 for row in rows if row.side == side)


def _loads(name: str) -> dict[str, Callable[[], Any]]:
    """Return what loads, by side; each one into its own optimizer."""
    model = models.hugging_face(name)
    config = sides.config(sides.NO_DECAY, {"type": "layer_decay", "ratio": 0.8})
    trained = build_optimizer(config, model)
    trained.step()
    by_name, by_position = optimizer_state(trained), trained.state_dict()
    ours, own = build_optimizer(config, model), build_optimizer(config, model)
    plain = torch.optim.AdamW([dict(group) for group in ours.param_groups], fused=True)
    return {
        TORCH: lambda: plain.load_state_dict(by_position),
        sides.OURS: lambda: load_optimizer_state(ours, by_name),
        OWN: lambda: own.load_state_dict(by_position),
    }


def _in_new_process(name: str, side: str) -> float:
    """Return how many bytes the peak memory of a fresh process rises above what it holds before the load."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_extra, (name, side))


def _extra(name: str, side: str) -> float:
    load = _loads(name)[side]
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    load()
    return max(0.0, _status("VmHWM") - before)


def _status(field: str) -> float:
    found = re.search(rf"^{field}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024.0 if found else 0.0
