"""Saved groups without names get those of the one known split that fits, or are an error that says how to name them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, names_of, optimizer_state

CONFIG = {
    "optimizer": {"type": "adamw", "lr": 0.1, "weight_decay": 0.1},
    "rules": [{"type": "no_decay", "vectors": False}],
}


class Net(nn.Module):
    """Layers of the same shapes, so that only names or the right order tell them apart."""

    def __init__(self, head: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pos = nn.Parameter(torch.randn(1, 4))
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3)])
        self.head = nn.Linear(4, 4) if head else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.pos
        for layer in self.layers:
            x = layer(x)
        out: torch.Tensor = self.head(x)
        return out


def split(model: nn.Module, decays: Callable[[str, torch.Tensor], bool], reverse: bool = False) -> Any:
    named = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    decay = {"params": [tensor for name, tensor in named if decays(name, tensor)], "weight_decay": 0.1}
    rest = {"params": [tensor for name, tensor in named if not decays(name, tensor)], "weight_decay": 0.0}
    return [rest, decay] if reverse else [decay, rest]


TRAINER = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
NORMS = re.compile(r"layers\.\d\.1\.")
SPLITS: dict[str, Any] = {
    "hugging face": lambda m: split(m, lambda name, t: not NORMS.search(name) and not TRAINER.search(name)),
    "nanogpt": lambda m: split(m, lambda name, t: t.dim() >= 2),
    "timm": lambda m: split(m, lambda name, t: t.ndim > 1 and not name.endswith(".bias"), reverse=True),
    "dino": lambda m: split(m, lambda name, t: not (name.endswith(".bias") or len(t.shape) == 1)),
    "detectron2": lambda m: split(m, lambda name, t: not NORMS.search(name)),
    "of the plan": lambda m: [{"params": g["params"]} for g in build_optimizer(CONFIG, m).param_groups],
}


def stepped(model: nn.Module, groups: Any, cls: Any = torch.optim.AdamW, steps: int = 2) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = cls(groups, lr=0.1)
    for seed in range(steps):
        torch.manual_seed(seed)
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


@pytest.mark.parametrize("groups", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("frozen", [False, True], ids=["all", "some frozen"])
@pytest.mark.parametrize("cls", [torch.optim.AdamW, torch.optim.Adafactor])
def test_a_known_split_is_recognised_and_every_parameter_gets_its_state(groups: Any, frozen: bool, cls: Any) -> None:
    model = Net()
    model.layers[0].requires_grad_(not frozen)
    old = stepped(model, groups(model), cls)
    kind = "adamw" if cls is torch.optim.AdamW else "TorchAdafactor"
    fresh = build_optimizer({**CONFIG, "optimizer": {"type": kind, "lr": 0.1, "weight_decay": 0.1}}, model)
    report = load_optimizer_state(fresh, old.state_dict())
    assert "unnamed groups in module order" in report.layout
    for tensor in model.parameters():
        for key, value in old.state.get(tensor, {}).items():
            assert torch.equal(fresh.state[tensor][key], value)


def test_a_split_that_two_ways_fit_is_refused_unless_it_is_named() -> None:
    """Without state nothing but counts is known, and norms and biases are as many."""
    model = nn.Sequential(nn.LayerNorm(4, bias=False), nn.Linear(4, 4), nn.LayerNorm(4, bias=False), nn.Linear(4, 4))
    norms = split(model, lambda name, t: name in ("1.weight", "1.bias", "3.weight", "3.bias"))
    old = torch.optim.AdamW(norms, lr=0.1)
    fresh = build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}}, model)
    load_optimizer_state(fresh, old.state_dict())
    both = [
        {"params": [model[1].weight, model[3].weight]},
        {"params": [model[0].weight, model[1].bias, model[2].weight, model[3].bias]},
    ]
    del both[0]["params"][0]
    both[1]["params"].insert(2, model[1].weight)
    with pytest.raises(CheckpointError, match=r"nothing says which state.*names=\[\["):
        load_optimizer_state(fresh, torch.optim.AdamW(both, lr=0.1).state_dict())


def test_weight_decay_of_the_groups_tells_a_split_from_its_opposite() -> None:
    model = Net()
    groups = split(model, lambda name, t: t.dim() >= 2)
    groups[0]["weight_decay"], groups[1]["weight_decay"] = 0.0, 0.1
    old = stepped(model, groups)
    fresh = build_optimizer(CONFIG, model)
    report = load_optimizer_state(fresh, old.state_dict())
    assert report.layout.endswith("(the groups of the plan)")


def test_names_may_be_lists_or_the_function_that_made_the_groups() -> None:
    def groups(model: nn.Module) -> list[dict[str, Any]]:
        named = dict(model.named_parameters())
        return [
            {"params": [named["head.bias"]]},
            {"params": [t for n, t in reversed(named.items()) if n != "head.bias"]},
        ]

    model = Net()
    old = stepped(model, groups(model))
    fresh = build_optimizer(CONFIG, model)
    with pytest.raises(CheckpointError, match=r"none of the known ways.*names_of\(optimizer\.param_groups, model\)"):
        load_optimizer_state(fresh, old.state_dict())
    for names in (groups, names_of(old, model), names_of(old.param_groups, model), lambda m: names_of(groups(m), m)):
        fresh.state.clear()
        assert load_optimizer_state(fresh, old.state_dict(), names=names).layout == "torch, with given names"
        for tensor in model.parameters():
            assert torch.equal(fresh.state[tensor]["exp_avg"], old.state[tensor]["exp_avg"])
    for wrong in (
        [["head.bias"]],
        "head.bias",
        [1],
        [["x"] * 14, []],
        lambda model: 3,
        lambda model: [["a"], [object()]],
    ):
        with pytest.raises(CheckpointError):
            load_optimizer_state(fresh, old.state_dict(), names=wrong)


def test_names_of_tensors_that_are_not_in_the_model_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"group 0 has a tensor of shape \(2, 2\), which is no parameter"):
        names_of([{"params": [nn.Parameter(torch.zeros(2, 2))]}], Net())


# --- other names ------------------------------------------------------------------------------


class Renamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Net(head=False)
        self.classifier = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classifier(self.backbone(x))
        return out


def renamed_pair() -> tuple[Net, torch.optim.Optimizer, torch.optim.Optimizer]:
    model = Net()
    old = build_optimizer(CONFIG, model)
    model(torch.ones(5, 4)).square().sum().backward()
    old.step()
    return model, old, build_optimizer(CONFIG, Renamed())


RENAME = {"layers.": "backbone.layers.", "pos": "backbone.pos", "head.": "classifier."}


@pytest.mark.parametrize(
    "rename", [RENAME, lambda name: re.sub(r"^(layers|pos)", r"backbone.\1", name).replace("head", "classifier")]
)
def test_renamed_parameters_resume(rename: Any) -> None:
    model, old, fresh = renamed_pair()
    load_optimizer_state(fresh, optimizer_state(old), rename=rename)
    state = optimizer_state(fresh)["state"]
    assert torch.equal(state["classifier.weight"]["exp_avg"], old.state[model.head.weight]["exp_avg"])
    assert torch.equal(state["backbone.pos"]["exp_avg"], old.state[model.pos]["exp_avg"])


def test_a_rename_is_suggested_where_shapes_and_order_pair_up() -> None:
    _, old, fresh = renamed_pair()
    with pytest.raises(CheckpointError) as caught:
        load_optimizer_state(fresh, optimizer_state(old))
    suggestion = str(caught.value).split("rename=")[1].split(" loads them")[0]
    assert load_optimizer_state(fresh, optimizer_state(old), rename=eval(suggestion)).missing == ()


def test_a_rename_that_matches_nothing_or_is_none_is_refused() -> None:
    _, old, fresh = renamed_pair()
    with pytest.raises(CheckpointError, match=r"rename: no saved name starts with 'encoder\.'"):
        load_optimizer_state(fresh, optimizer_state(old), rename={**RENAME, "encoder.": "x."})
    with pytest.raises(CheckpointError, match="rename must be a mapping"):
        load_optimizer_state(fresh, optimizer_state(old), rename=3)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="rename must return a name"):
        load_optimizer_state(fresh, optimizer_state(old), rename=lambda name: None)  # type: ignore[arg-type, return-value]


# --- torchtitan -------------------------------------------------------------------------------


def test_torchtitans_flat_state_loads_by_name() -> None:
    """Its container flattens torch's state dict, and its loader takes ``param_names`` out of every group."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    model = Net()
    old = torch.optim.AdamW(split(model, lambda name, t: t.dim() >= 2), lr=0.1)
    model(torch.ones(5, 4)).square().sum().backward()
    old.step()
    flat = get_optimizer_state_dict(model, old, options=StateDictOptions(flatten_optimizer_state_dict=True))
    fresh = build_optimizer(CONFIG, model)
    for load in (lambda: load_optimizer_state(fresh, flat), lambda: fresh.load_state_dict(flat)):
        fresh.state.clear()
        load()
        for tensor in model.parameters():
            assert torch.equal(fresh.state[tensor]["exp_avg"], old.state[tensor]["exp_avg"])
