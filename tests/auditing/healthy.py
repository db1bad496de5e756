"""Set-ups without a fault, by name: what makes optimizer and model."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from optimbuild import build_optimizer
from tests.auditing.planted import Made, adamw, per_layer, split, stepped
from tests.build.test_composite import config as of_two
from tests.build.test_composite import tokens_model
from tests.models import CONFIG, Net, Tied

HEALTHY: dict[str, Callable[[], Made]] = {}


def healthy(make: Callable[[], Made]) -> Callable[[], Made]:
    HEALTHY[make.__name__] = make
    return make


@healthy
def two_sound_groups() -> Made:
    model = Net()
    return adamw(split(model)), model


@healthy
def built_by_us() -> Made:
    model = Net()
    return build_optimizer(CONFIG, model), model


@healthy
def built_by_us_and_frozen() -> Made:
    model = Net()
    return build_optimizer(
        {**CONFIG, "rules": [{"type": "no_decay"}, {"type": "freeze", "patterns": ["stem"]}]}, model
    ), model


@healthy
def composite() -> Made:
    model = tokens_model()
    return build_optimizer(of_two(), model), model


@healthy
def two_optimizers_of_a_gan() -> Made:
    model = nn.ModuleDict({"generator": nn.Linear(4, 4), "critic": nn.Linear(4, 1)})
    optimizers = {name: torch.optim.Adam(part.parameters(), lr=2e-4, fused=True) for name, part in model.items()}
    return optimizers, model


@healthy
def lora() -> Made:
    model = nn.ModuleDict(
        {"base": nn.Linear(8, 8), "lora_A": nn.Linear(8, 2, bias=False), "lora_B": nn.Linear(2, 8, bias=False)}
    )
    model["base"].requires_grad_(False)
    return adamw([p for p in model.parameters() if p.requires_grad], weight_decay=0.01), model


@healthy
def lora_plus() -> Made:
    model = nn.ModuleDict({"lora_A": nn.Linear(8, 2, bias=False), "lora_B": nn.Linear(2, 8, bias=False)})
    return adamw(
        [{"params": model["lora_A"].parameters()}, {"params": model["lora_B"].parameters(), "lr": 16e-3}]
    ), model


@healthy
def frozen_teacher() -> Made:
    student = Net()
    teacher = copy.deepcopy(student).requires_grad_(False)
    model = nn.ModuleDict({"student": student, "teacher": teacher})
    model.train()
    teacher.eval()
    return adamw(split(model)), model


@healthy
def tied_head_in_one_optimizer() -> Made:
    model = Tied()
    return adamw(split(model)), model


@healthy
def after_a_step() -> Made:
    model = nn.Linear(4, 3)
    return stepped(model), model


@healthy
def in_the_middle_of_a_schedule() -> Made:
    model = Net()
    optimizer = adamw(per_layer(model)[::-1])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(6):
        optimizer.step()
        scheduler.step()
    return optimizer, model


@healthy
def at_the_start_of_a_warm_up_from_zero() -> Made:
    model = Net()
    optimizer = adamw(per_layer(model)[::-1])
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 10, 1.0))
    return optimizer, model


@healthy
def scales_that_are_in_the_lrs() -> Made:
    model = Net()
    groups = [
        {"params": g["params"], "lr": 1e-3 * 0.5**i, "lr_scale": 0.5**i} for i, g in enumerate(per_layer(model)[::-1])
    ]
    return adamw(groups), model


@healthy
def chosen_to_run_as_a_loop() -> Made:
    model = Net()
    return adamw(split(model), fused=None, foreach=False), model


@healthy
def groups_with_names() -> Made:
    model = Net()
    first, second = split(model)
    return adamw([{**first, "name": "matrices"}, {**second, "name": "vectors"}]), model


@healthy
def muon_beside_adamw() -> Made:
    if not hasattr(torch.optim, "Muon"):
        return two_sound_groups()
    model = nn.ModuleDict({"body": nn.Linear(8, 8, bias=False), "head": nn.Linear(8, 4)})
    return [torch.optim.Muon(model["body"].parameters(), lr=0.02), adamw(split(model["head"]))], model


@healthy
def model_in_eval_mode() -> Made:
    model = Net()
    model.stem.requires_grad_(False)
    return adamw(split(model)), model.eval()


@healthy
def sgd_of_sparse_embeddings() -> Made:
    model = nn.Embedding(8, 4, sparse=True)
    return torch.optim.SGD(model.parameters(), lr=0.1), model
