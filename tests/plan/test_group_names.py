"""Names of groups: short, readable, unique, the same in every run, and no part of what an optimizer saves by name."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from optimbuild import ConfigError, Inventory, ParamInfo, build_optimizer, make_plan
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.plan.decision import Group
from optimbuild.plan.group_names import group_names

ADAMW = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05}
NO_DECAY = {"type": "no_decay"}
VIT = Inventory(
    tuple(
        [ParamInfo("vit.embed.token", (1, 1, 8)), ParamInfo("vit.embed.proj.weight", (8, 8), owner="Linear")]
        + [ParamInfo(f"vit.layers.{i}.fc.{name}", (8, 8)[: 2 - at]) for i in range(3) for at, name in enumerate("wb")]
        + [ParamInfo("vit.norm.weight", (8,)), ParamInfo("head.weight", (4, 8)), ParamInfo("head.bias", (4,))]
    )
)


def names(*rules: dict[str, Any], lr: float = 1e-3, model: Inventory = VIT) -> tuple[str, ...]:
    return make_plan({"optimizer": {**ADAMW, "lr": lr}, "rules": list(rules)}, model).group_names


HEAD = {"type": "match", "table": {"head": {"lr_mult": 10.0}}}
LAYERS = {"type": "match", "table": {"vit.layers.{0..1}": {"lr_mult": 0.1}}}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], ("all",)),
        ([NO_DECAY], ("no_decay", "decay")),
        ([HEAD], ("vit", "head")),
        ([NO_DECAY, HEAD], ("vit/no_decay", "vit/decay", "head.weight", "head.bias")),
        ([LAYERS], ("rest", "vit.layers.0-1")),
        ([{"type": "match", "table": {"**.b": {"lr_mult": 2.0, "decay_mult": 0.5}}}], ("rest", "vit.layers")),
        ([{"type": "match", "table": {"vit.layers.{0,2}": {"lr_mult": 0.1}}}], ("rest", "vit.layers")),
    ],
)
def test_a_group_is_named_by_its_place_and_what_it_gets_there(rules, expected):
    assert names(*rules) == expected


def test_names_say_where_nothing_but_numbers_differs():
    model = Inventory(tuple(ParamInfo(f"layers.{i}.weight", (2, 2)) for i in range(4)))
    first = {"type": "match", "table": {"layers.0": {"lr_mult": 0.5}}}
    assert names(first, model=model) == ("layers.0.weight", "layers.1-3")


def test_a_name_does_not_change_with_the_base_lr():
    rules = [NO_DECAY, {"type": "match", "table": {"**.w": {"lr_mult": 0.5}, "**.token": {"lr_mult": 0.25}}}]
    assert names(*rules) == names(*rules, lr=3e-4)


def test_a_rules_name_stays_and_what_splits_it_follows():
    groups = {"type": "groups", "order": [{"name": "norms"}], "members": [{"group": "norms", "params": ["weight"]}]}
    found = names(groups, {"type": "match", "table": {"head.weight": {"lr_mult": 0.5}}})
    assert [name for name in found if name.startswith("norms")] == ["norms/lr_x1", "norms/lr_x0.5"]


VALUES = st.sampled_from([0.0, 1e-5, 0.1, 0.10000001, True, None, (0.9, 0.99), "a b/ü", 1, 1.0])
OPTIONS = st.dictionaries(st.sampled_from(["lr", "weight_decay", "betas", "warm up"]), VALUES)
PARAMS = st.lists(st.sampled_from(["a.w", "a.0.w", "a.1.w", "a.2.b", "b", "c c.w", "c c.b"]), max_size=4, unique=True)


@given(
    st.lists(st.tuples(PARAMS, OPTIONS, st.sampled_from(["", "x", "x_2"])), max_size=8), st.sampled_from([None, 0.1])
)
def test_no_two_names_are_equal_and_loggers_take_all_of_them(drawn, base_lr):
    groups = [Group("adamw", options, tuple(params), (), "fused", name) for params, options, name in drawn]
    found = group_names(groups, base_lr)
    assert len(set(found)) == len(groups)
    assert all(re.fullmatch(r"[\w./-]+", name) for name in found)


# --- in the optimizer -------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))


def built(rules: list[dict[str, Any]], model: nn.Module | None = None) -> Any:
    model = Net() if model is None else model
    optimizer = build_optimizer({"optimizer": ADAMW, "rules": rules}, model)
    for tensor in model.parameters():
        tensor.grad = torch.ones_like(tensor) if tensor.requires_grad else None
    optimizer.step()
    return optimizer


def names_in(optimizer: Any) -> list[str]:
    return [group["name"] for group in optimizer.param_groups]


HEAD_FIRST = [NO_DECAY, {"type": "match", "table": {"head": {"lr_mult": 2.0}}}]


def test_groups_of_a_part_are_named_as_in_the_whole():
    whole = Net()
    plan = make_plan({"optimizer": ADAMW, "rules": HEAD_FIRST}, whole)
    part = build_optimizer(plan, nn.ModuleDict({"head": whole.head}))
    assert names_in(part) == [name for name in plan.group_names if name.startswith("head")]


@pytest.mark.filterwarnings("ignore:the options of the save count")
@pytest.mark.parametrize("named", [True, False], ids=["of another plan", "without names"])
@pytest.mark.parametrize("load", [lambda o, s: o.load_state_dict(s), load_optimizer_state], ids=["torch", "by name"])
def test_names_stay_whatever_state_is_loaded(load, named):
    state = copy.deepcopy(built([NO_DECAY]).state_dict())
    if not named:
        for group in state["param_groups"]:
            del group["name"]
    optimizer = built([NO_DECAY, {"type": "match", "table": {"head.1": {"betas": [0.8, 0.9]}}}])
    before = names_in(optimizer)
    load(optimizer, state)
    assert names_in(optimizer) == before
    assert len(set(before)) == 4


def test_torchs_own_functions_load_what_has_no_names_of_groups():
    model = Net()
    optimizer = built([NO_DECAY], model)
    state = get_optimizer_state_dict(model, optimizer)
    before = names_in(optimizer)
    for group in state["param_groups"]:
        del group["name"]
    set_optimizer_state_dict(model, optimizer, state)
    assert names_in(optimizer) == before


def test_a_save_by_name_knows_no_names_of_groups():
    assert "head.0.weight" in str(state := optimizer_state(built([NO_DECAY])))
    assert "no_decay" not in str(state)


def test_added_groups_are_named_and_no_name_comes_twice():
    model = Net()
    optimizer = built([NO_DECAY, {"type": "freeze", "patterns": ["head"]}], model)
    assert names_in(optimizer) == ["weight", "bias"]
    for tensor in model.head.parameters():
        tensor.requires_grad_()
    optimizer.add_param_group({"params": list(model.head.parameters())})
    optimizer.add_param_group({"params": [("late", nn.Parameter(torch.zeros(2)))], "name": names_in(optimizer)[0]})
    assert len(set(names_in(optimizer))) == len(optimizer.param_groups) == 5
    assert names_in(optimizer)[-1] == f"{names_in(optimizer)[0]}_2"


def test_a_mark_cannot_be_called_name():
    from optimbuild import Edit, rule

    @rule("naming", force=True)
    class Naming:
        def __call__(self, param: Any) -> Edit:
            return Edit(marks={"name": "x"}, why="a test")

    with pytest.raises(ConfigError, match="'name' cannot be a mark"):
        build_optimizer({"optimizer": ADAMW, "rules": [{"type": "naming"}]}, Net())
