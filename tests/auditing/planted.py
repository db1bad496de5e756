"""Optimizers with one fault each, by name: the finding's id, and what makes optimizer and model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from optimbuild import build_optimizer
from tests.models import CONFIG, Net, Tied

Made = tuple[Any, nn.Module]
FAULTS: dict[str, tuple[str, Callable[[], Made]]] = {}


def fault(id_: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    def register(make: Callable[[], Made]) -> Callable[[], Made]:
        FAULTS[make.__name__] = (id_, make)
        return make

    return register


def split(model: nn.Module, **more: Any) -> list[dict[str, Any]]:
    """Return two sound groups: matrices with decay, all else without."""
    params = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in params if _is_matrix(p)]
    inside = set(map(id, matrices))
    return [
        {"params": matrices, "weight_decay": 0.05, **more},
        {"params": [p for p in params if id(p) not in inside], "weight_decay": 0.0, **more},
    ]


def _is_matrix(param: torch.Tensor) -> bool:
    return sum(size > 1 for size in param.shape) > 1


def adamw(groups: Any, **more: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, **{"lr": 1e-3, "weight_decay": 0.0, "fused": True, **more})


def per_layer(model: Net, **more: Any) -> list[dict[str, Any]]:
    """Return a group for each block, from the input on, and one for the rest."""
    blocks = [{"params": list(block.parameters()), "lr": 1e-3 * 0.5 ** (3 - i)} for i, block in enumerate(model.blocks)]
    inside = {id(p) for group in blocks for p in group["params"]}
    return [*blocks, {"params": [p for p in model.parameters() if id(p) not in inside], "lr": 1e-3}]


class Marked(nn.Module):
    """A linear layer with a tensor that its makers marked."""

    def __init__(self, mark: str, value: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4, bias=False)
        self.memory = nn.Parameter(torch.zeros(4, 4))
        setattr(self.memory, mark, value)


class Hinting(Net):
    """A model that asks to spare a matrix."""

    def no_weight_decay(self) -> set[str]:
        return {"head.weight"}


class Positions(nn.Module):
    """A table of positions beside a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 7, 4))
        self.fc = nn.Linear(4, 4, bias=False)


@fault("parameter-in-no-group")
def head_forgotten() -> Made:
    model = Net()
    return adamw([p for name, p in model.named_parameters() if not name.startswith("head")]), model


@fault("parameter-in-no-group")
def one_optimizer_of_a_gan_forgotten() -> Made:
    model = nn.ModuleDict({"generator": nn.Linear(4, 4), "critic": nn.Linear(4, 1)})
    return [adamw(split(model["generator"]))], model


@fault("parameter-in-no-group")
def unfrozen_after_the_optimizer_was_made() -> Made:
    model = Net()
    model.stem[0].requires_grad_(False)
    optimizer = adamw(split(model))
    model.stem[0].requires_grad_(True)
    return optimizer, model


@fault("parameter-in-two-groups")
def appended_by_hand() -> Made:
    model = Net()
    optimizer = adamw(split(model))
    optimizer.param_groups[1]["params"].append(model.head.weight)
    return optimizer, model


@fault("parameter-in-two-groups")
def twice_in_one_group() -> Made:
    model = nn.Linear(4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns too
        return adamw([{"params": [model.weight, model.weight, model.bias]}]), model


@fault("tensor-in-two-optimizers")
def tied_head() -> Made:
    model = Tied()
    body = adamw([{"params": [*model.embed.parameters(), *model.layers.parameters()]}])
    return {"body": body, "head": adamw(model.lm_head.parameters())}, model


@fault("tensor-in-two-optimizers")
def two_optimizers_of_one_model() -> Made:
    model = nn.Linear(4, 4)
    return [adamw(model.parameters()), adamw([model.bias])], model


@fault("frozen-in-group")
def frozen_after_the_optimizer_was_made() -> Made:
    model = Net()
    optimizer = adamw(split(model))
    model.blocks[0].requires_grad_(False)
    return optimizer, model


@fault("frozen-in-group")
def frozen_of_ours_unfrozen_groups() -> Made:
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    model.head.requires_grad_(False)
    return optimizer, model


@fault("tensor-not-in-model")
def head_replaced_after_the_optimizer_was_made() -> Made:
    model = Net()
    optimizer = adamw(split(model))
    model.head = nn.Linear(8, 10)
    return optimizer, model


@fault("tensor-not-in-model")
def copy_of_the_model() -> Made:
    model, teacher = Net(), nn.Linear(4, 4)
    return adamw([*split(model), {"params": list(teacher.parameters())}]), model


@fault("decay-on-norm")
def everything_decayed() -> Made:
    model = Net()
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-norm")
def norms_by_another_class() -> Made:
    class MyRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

    model = nn.Sequential(nn.Linear(4, 4, bias=False), MyRMSNorm())
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-bias")
def only_norms_spared() -> Made:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "weight_decay": 0.0}]
    return adamw(groups, weight_decay=0.05), model


@fault("decay-on-gain")
def layer_scale_in_another_shape() -> Made:
    model = nn.Linear(4, 4, bias=False)
    model.register_parameter("scale", nn.Parameter(torch.ones(1, 1, 4)))
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-gain")
def temperature() -> Made:
    model = nn.Linear(4, 4, bias=False)
    model.register_parameter("temperature", nn.Parameter(torch.ones(())))
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-embedding")
def table_of_positions() -> Made:
    model = Positions()
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-marked")
def marked_as_mamba_does() -> Made:
    model = Marked("_no_weight_decay", True)
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-marked")
def marked_as_s4_does() -> Made:
    model = Marked("_optim", {"weight_decay": 0.0})
    return adamw(model.parameters(), weight_decay=0.05), model


@fault("decay-on-marked")
def asked_by_the_model_itself() -> Made:
    model = Hinting()
    return adamw(split(model)), model


@fault("equal-groups")
def group_per_tensor() -> Made:
    model = Net()
    return adamw([{"params": [p], "weight_decay": 0.05 * _is_matrix(p)} for p in model.parameters()]), model


@fault("unused-fused-kernel")
def left_to_torch() -> Made:
    model = Net()
    return torch.optim.AdamW(split(model), lr=1e-3), model


@fault("unused-fused-kernel")
def sgd_left_to_torch() -> Made:
    model = Net()
    return torch.optim.SGD(split(model), lr=1e-3, momentum=0.9), model


@fault("ignored-lr-scale")
def scales_as_timm_and_a_scheduler_of_torch() -> Made:
    model = Net()
    groups = [{"params": g["params"], "lr_scale": 0.5**i} for i, g in enumerate(reversed(per_layer(model)))]
    optimizer = adamw(groups)
    torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    return optimizer, model


@fault("lr-zero")
def zero_for_the_backbone() -> Made:
    model = Net()
    first, *others = per_layer(model)
    return adamw([*others, {**first, "lr": 0.0}]), model


@fault("impossible-lr")
def a_schedule_that_divided_by_zero() -> Made:
    model = Net()
    optimizer = adamw(split(model))
    optimizer.param_groups[0]["lr"] = float("nan")
    return optimizer, model


@fault("impossible-lr")
def a_schedule_that_went_below_zero() -> Made:
    model = Net()
    optimizer = adamw(split(model))
    optimizer.param_groups[1]["lr"] = -1e-6
    return optimizer, model


@fault("lr-zero")
def zero_by_a_tensor() -> Made:
    model = nn.Linear(4, 4)
    return adamw(split(model), lr=torch.tensor(0.0)), model


@fault("first-group-is-deepest")
def layers_from_the_input_on() -> Made:
    model = Net()
    return adamw(per_layer(model)), model


@fault("statistics-of-frozen-move")
def frozen_stem_with_a_batch_norm() -> Made:
    model = Net()
    model.stem.requires_grad_(False)
    return adamw(split(model)), model


@fault("statistics-of-frozen-move")
def batch_norm_without_parameters() -> Made:
    backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False)).requires_grad_(False)
    model = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(4, 2)})
    return adamw(split(model)), model


@fault("broken-lr-ratios")
def cosine_with_one_lowest_lr() -> Made:
    model = Net()
    optimizer = adamw(per_layer(model)[::-1])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=1e-4)
    for _ in range(8):
        optimizer.step()
        scheduler.step()
    return optimizer, model


@fault("broken-lr-ratios")
def one_cycle_over_ours() -> Made:
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=10)
    return optimizer, model


@fault("broken-lr-ratios")
def set_by_hand() -> Made:
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    return optimizer, model


@fault("unread-option")
def misspelt_option() -> Made:
    model = nn.Linear(4, 4)
    first, second = split(model)
    return adamw([first, {**second, "weight_decays": 0.1}]), model


@fault("unread-option")
def factor_that_only_a_constructor_reads() -> Made:
    model = nn.Linear(4, 4)
    return adamw([{**group, "lr_mult": 0.1} for group in split(model)]), model


@fault("unread-option")
def momentum_for_adam() -> Made:
    model = nn.Linear(4, 4)
    return adamw(split(model, momentum=0.9)), model


def stepped(model: nn.Module) -> torch.optim.AdamW:
    optimizer = adamw(split(model))
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    return optimizer


@fault("state-does-not-fit")
def state_of_another_shape() -> Made:
    model = nn.Linear(4, 3)
    optimizer = stepped(model)
    optimizer.state[model.weight]["exp_avg"] = torch.zeros(3, 3)
    return optimizer, model


@fault("state-does-not-fit")
def state_in_half_precision() -> Made:
    model = nn.Linear(4, 3)
    optimizer = stepped(model)
    optimizer.state[model.weight]["exp_avg_sq"] = torch.zeros(3, 4, dtype=torch.bfloat16)
    return optimizer, model


@fault("state-does-not-fit")
def parameter_resized_under_the_optimizer() -> Made:
    model = nn.Linear(4, 3)
    optimizer = stepped(model)
    model.weight.data = torch.zeros(5, 4)
    return optimizer, model
