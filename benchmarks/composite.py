"""One step of several optimizers as one, beside the same optimizers stepped one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks import models, sides
from benchmarks.measuring import Effort, in_turn
from benchmarks.results import Result, Row, Target
from optimbuild import build_optimizer

ABOUT = """One step of AdamW with SGD for the matrices, and with Muon where torch has it. The other side has the same
optimizers with the same groups, constructed by hand, without any hook of ours, and stepped one after the other."""

ONE_BY_ONE = "one by one"


def run(effort: Effort) -> Result:
    """Measure ViT-B, or a tiny model whose step is nearly all overhead."""
    others = ["sgd", *["muon"] * hasattr(torch.optim, "Muon")]
    cases = [(models.TINY, other) for other in others]
    if not effort.quick:
        cases.append(("ViT-B", "sgd"))
    rows: list[Row] = []
    for name, other in cases:
        rows += _steps(f"{name}, adamw and {other}", models.hugging_face(name), other, effort.more())
    worst = max(row.ratio or 0.0 for row in rows if row.side == sides.OURS)
    return Result("composite", ABOUT, rows, [Target("time over the members one by one, the worst", worst, 1.02)])


def _steps(case: str, model: nn.Module, other: str, effort: Effort) -> list[Row]:
    config = sides.config(
        {"type": "route", "to": other, "kinds": ["matrix"], "except": ["output"]},
        sides.NO_DECAY,
        optimizers={other: {"type": other, "lr": sides.LR}},
    )
    ours: Any = build_optimizer(config, model)
    members = [_alone(ours, name, member) for name, member in ours.members.items()]

    def one_by_one() -> None:
        for member in members:
            member.step()

    found: dict[str, Callable[[], Any]] = {ONE_BY_ONE: one_by_one, sides.OURS: ours.step}
    rows = in_turn(case, found, effort)
    for row in rows:
        row.facts["groups"] = len(ours.param_groups)
    return rows


def _alone(composite: Any, name: str, member: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return an optimizer of its own with the groups of a member."""
    groups = [dict(group) for group in composite.param_groups if group["optimizer"] == name]
    for group in groups:
        del group["optimizer"]
    return type(member)(groups)  # type: ignore[call-arg]
