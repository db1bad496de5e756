"""From a module to an optimizer: what building costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks import models, sides
from benchmarks.measuring import Effort, in_turn
from benchmarks.results import Result, Row, Target
from optimbuild import build_optimizer
from optimbuild.model.survey import survey

ABOUT = """From a module to a ready optimizer: seeing the model, planning it, grouping, and torch's own
constructor. `named_parameters()` alone, the least that anybody must do, is what the ratios are held against. A row
with *inventory only* stops when every parameter is known with its owner, kinds and shape; *groups only* stops before
torch's constructor."""

NAMED = "named_parameters() alone"
INVENTORY_ONLY = "inventory only"
GROUPS_ONLY = "groups only"
RATIO = 0.9
THREE = (sides.NO_DECAY, {"type": "layer_decay", "ratio": RATIO}, {"type": "dcn_lr", "factor": 0.1})


def run(effort: Effort) -> Result:
    """Measure every model."""
    rows: list[Row] = []
    notes: list[str] = []
    for case, model in _cases(effort):
        simple = _simple(model, notes)
        internimage = case.startswith("InternImage")
        rows += _measured(f"{case}, no_decay", model, simple, effort.more() if internimage else effort)
        if internimage:
            rich: dict[str, Callable[[], Any]] = {
                sides.OURS: partial(build_optimizer, sides.config(*THREE), model),
                **_halfway(sides.config(*THREE), model),
                sides.PUBLISHED: partial(sides.published, model, RATIO, 0.1),
            }
            rows += _measured(f"{case}, no_decay + layer_decay + dcn_lr", model, rich, effort.more())
    targets = _targets({(row.case, row.side): row for row in rows})
    return Result("build", ABOUT, rows, targets, list(dict.fromkeys(notes)))


def _cases(effort: Effort) -> list[tuple[str, nn.Module]]:
    if effort.quick:
        return [("InternImage-L, its beginning", models.from_inventory("internimage_l", at_most=200))]
    return [
        ("InternImage-H", models.from_inventory("internimage_h")),
        ("InternViT-6B", models.from_inventory("internvit_6b")),
        *((name, models.hugging_face(name)) for name in ("ViT-B", "Swin-T", "Llama-135M")),
    ]


def _simple(model: nn.Module, notes: list[str]) -> dict[str, Callable[[], Any]]:
    """Return the sides that leave out weight decay, and nothing else."""
    config = sides.config(sides.NO_DECAY)
    found: dict[str, Callable[[], Any]] = {
        sides.OURS: lambda: build_optimizer(config, model),
        **_halfway(config, model),
        sides.PUBLISHED: lambda: sides.published(model),
        sides.MMENGINE: lambda: sides.mmengine(model),
        sides.FLOOR: lambda: sides.floor(model),
    }
    for side, groups_of in ((sides.TIMM, sides.timm_groups), (sides.DETECTRON2, sides.detectron2_groups)):
        try:
            group = groups_of()
        except ImportError as error:
            notes.append(f"Left out: {error}.")
            continue
        found[f"{side}, {GROUPS_ONLY}"] = partial(group, model)
        found[f"{side}, then AdamW"] = partial(_then_adamw, group, model)
    return found


def _halfway(config: dict[str, Any], model: nn.Module) -> dict[str, Callable[[], Any]]:
    """Return the first part of our build, and all of it but torch's part: where the time goes."""
    return {
        f"{sides.OURS}, {INVENTORY_ONLY}": lambda: survey(model),
        f"{sides.OURS}, {GROUPS_ONLY}": lambda: sides.our_groups(config, model),
    }


def _then_adamw(group: Callable[[nn.Module], list[dict[str, Any]]], model: nn.Module) -> torch.optim.Optimizer:
    """Build AdamW from somebody's groups, with the implementation that we would choose as well."""
    return torch.optim.AdamW(group(model), lr=sides.LR, fused=True)


def _measured(case: str, model: nn.Module, found: dict[str, Callable[[], Any]], effort: Effort) -> list[Row]:
    return in_turn(case, {NAMED: lambda: list(model.named_parameters()), **found}, effort)


def _targets(rows: dict[tuple[str, str], Row]) -> list[Target]:
    name = next(case for case, _ in rows).rpartition(", ")[0]
    case = f"{name}, no_decay + layer_decay + dcn_lr"
    ours, published = rows[case, sides.OURS].ratio or 0.0, rows[case, sides.PUBLISHED].ratio or 0.0
    faster = f"three rules on {name}: how many times faster than the published code"
    return [
        Target(f"three rules on {name}, over `named_parameters()`", ours, 8.0),
        Target(faster, published / (ours or 1.0), 20.0, at_most=False),
    ]
