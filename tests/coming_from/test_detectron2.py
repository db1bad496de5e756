"""The rows of docs/coming-from/detectron2.md: the published groups of detectron2, stated again, and ours train alike.

detectron2 is on no package index. What is restated is ``get_default_optimizer_params`` and ``get_vit_lr_decay_rate``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from optimbuild import build_optimizer
from tests.coming_from.tables import base, changed, differing, on_cpu, ours, rows, trained
from tests.models import Block

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
DEFAULTS = {
    "MOMENTUM": 0.9,
    "NESTEROV": False,
    "WEIGHT_DECAY": 1e-4,
    "WEIGHT_DECAY_NORM": 0.0,
    "BIAS_LR_FACTOR": 1.0,
    "WEIGHT_DECAY_BIAS": None,
}
BATCH = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
TOKENS = torch.linspace(-1, 1, 16).reshape(2, 8)


def detector() -> nn.Module:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    res2 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
    res3 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
    backbone = nn.Sequential(OrderedDict(bottom_up=nn.Sequential(OrderedDict(stem=stem, res2=res2, res3=res3))))
    return nn.Sequential(OrderedDict(backbone=backbone, head=nn.Conv2d(4, 2, 1)))


class PlainViT(nn.Module):
    """The names of ViTDet's backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.ones(1, 8))
        self.patch_embed = nn.Linear(8, 8)
        self.blocks = nn.Sequential(*[Block() for _ in range(12)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.patch_embed(x) + self.pos_embed)


def vitdet() -> nn.Module:
    torch.manual_seed(0)
    backbone = nn.Sequential(OrderedDict(net=PlainViT(), simfp_2=nn.Linear(8, 8)))
    return nn.Sequential(OrderedDict(backbone=backbone, head=nn.Linear(8, 2)))


def get_vit_lr_decay_rate(name: str, lr_decay_rate: float, num_layers: int) -> float:
    layer = num_layers + 1
    if name.startswith("backbone") and (".pos_embed" in name or ".patch_embed" in name):
        layer = 0
    elif name.startswith("backbone") and ".blocks." in name:
        layer = int(name.partition(".blocks.")[2].partition(".")[0]) + 1
    return lr_decay_rate ** (num_layers + 1 - layer)


def groups(
    model: nn.Module,
    lr: float,
    norm: float | None = None,
    bias: dict[str, float] | None = None,
    lr_factor_func: Callable[[str], float] = lambda name: 1.0,
    overrides: dict[str, dict[str, float]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield a group per tensor: norms by the class of their module, overrides by the last piece of the name."""
    by_name = {"bias": bias or {}, **(overrides or {})}
    for path, module in model.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            decay = {"weight_decay": norm} if isinstance(module, NORMS) and norm is not None else {}
            scaled = lr * lr_factor_func(f"{path}.{name}")
            if tensor.requires_grad:
                yield {"params": [tensor], "lr": scaled, **decay, **by_name.get(name, {})}


def detectron2s(keys: str) -> Callable[[nn.Module], torch.optim.Optimizer]:
    solver = {"BASE_LR": 0.02, **DEFAULTS, **(yaml.safe_load(keys) or {})}

    def make(model: nn.Module) -> torch.optim.Optimizer:
        lr, factor, decay = solver["BASE_LR"], solver["BIAS_LR_FACTOR"], solver["WEIGHT_DECAY_BIAS"]
        bias = {} if factor == 1.0 else {"lr": lr * factor}
        bias |= {} if decay is None else {"weight_decay": decay}
        options = {"momentum": solver["MOMENTUM"], "nesterov": solver["NESTEROV"]}
        found = groups(model, lr, solver["WEIGHT_DECAY_NORM"], bias)
        return torch.optim.SGD(found, lr=lr, weight_decay=solver["WEIGHT_DECAY"], **options)

    return make


@pytest.mark.parametrize(("theirs", "here"), [("", "{}"), *rows("detectron2", "`SOLVER`")])
def test_a_row_of_the_solver_trains_what_detectron2_trains(theirs: str, here: str) -> None:
    config = on_cpu(changed(base("detectron2"), here))
    found = trained(detector(), ours(config), BATCH)
    assert differing(found, trained(detector(), detectron2s(theirs), BATCH)) == []


@pytest.mark.parametrize(("theirs", "here"), rows("detectron2", "argument"))
def test_an_argument_of_lazy_configs_trains_what_detectron2_trains(theirs: str, here: str) -> None:
    names = {"partial": partial, "get_vit_lr_decay_rate": get_vit_lr_decay_rate}
    given = eval(f"dict({theirs})", names)
    config = on_cpu({"optimizer": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.1}, "rules": [yaml.safe_load(here)]})
    found = trained(vitdet(), ours(config), TOKENS)
    published = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
    assert differing(found, trained(vitdet(), lambda model: published(groups(model, 1e-3, **given)), TOKENS)) == []


def test_freeze_at_2_freezes_the_stem_and_the_first_stage() -> None:
    (frozen,) = [here for theirs, here in rows("detectron2", "`MODEL.BACKBONE`") if theirs == "FREEZE_AT: 2"]
    config = changed(base("detectron2"), "{}")
    plan = build_optimizer({**config, "rules": [yaml.safe_load(frozen), *config["rules"]]}, detector()).plan
    assert {name.split(".")[2] for name in plan.frozen} == {"stem", "res2"}
    assert plan.kept_statistics == ("backbone.bottom_up.stem.1",)
