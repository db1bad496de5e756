"""From a plan to an optimizer: groups, names, freezing, implementations, and nothing lost on the way."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import ConfigError, Inventory, OptimBuildError, Plan, build_optimizer, make_plan
from optimbuild.plan.plan_file import checksum
from tests.models import CONFIG, Net, Tied
from tests.properties import examples


def test_the_optimizer_has_one_named_group_for_each_setting():
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    named = dict(model.named_parameters())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert type(optimizer).__name__ == "AdamW"
    assert len(optimizer.param_groups) == len({(g["lr"], g["weight_decay"]) for g in optimizer.param_groups})
    for group, planned in zip(optimizer.param_groups, optimizer.plan.groups, strict=True):
        assert group["param_names"] == list(planned.params)
        assert all(tensor is named[name] for name, tensor in zip(group["param_names"], group["params"], strict=True))
        assert {key: group[key] for key in planned.options} == planned.options
    assert make_plan(CONFIG, model) == optimizer.plan


def test_groups_carry_nothing_that_the_optimizer_does_not_know():
    optimizer = build_optimizer(CONFIG, Net())
    plain = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    for group in optimizer.param_groups:
        assert set(group) - {"param_names", "name"} <= set(plain.param_groups[0])


RULES: list[dict[str, Any]] = [
    {"type": "no_decay"},
    {"type": "no_decay", "bias": False},
    {"type": "layer_decay", "ratio": 0.5},
    {"type": "freeze", "patterns": ["stem"]},
    {"type": "freeze", "patterns": ["blocks.0", "norm"]},
    {"type": "match", "table": {"head": {"lr_mult": 10.0}, "**.mlp": {"decay_mult": 0.5}}},
    {"type": "match", "table": [{"kinds": ["bias"], "lr": 0.25}]},
]


@given(rules=st.lists(st.sampled_from(RULES), max_size=5), kind=st.sampled_from(["adamw", "sgd", "Adam"]))
@settings(max_examples=examples(60), deadline=None)
def test_every_trainable_parameter_is_in_exactly_one_group(rules, kind):
    model = Net()
    optimizer = build_optimizer({"optimizer": {"type": kind, "lr": 0.1, "weight_decay": 0.1}, "rules": rules}, model)
    grouped = [name for group in optimizer.param_groups for name in group["param_names"]]
    trainable = [name for name, tensor in model.named_parameters() if tensor.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert len(grouped) == len(set(grouped))
    settings_seen = [
        sorted((k, repr(v)) for k, v in g.items() if k not in ("params", "param_names", "name"))
        for g in optimizer.param_groups
    ]
    assert all(one != other for i, one in enumerate(settings_seen) for other in settings_seen[:i])


def _trained(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int = 20) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 8, generator=generator)).square().mean().backward()
        optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("implementation", ["fused", "foreach", "for-loop"])
def test_merged_groups_train_bit_for_bit_like_one_group_a_parameter(kind, implementation):
    torch.manual_seed(0)
    model = Net()
    twin = copy.deepcopy(model)
    config = {
        "optimizer": {"type": kind, "lr": 0.01, "weight_decay": 0.1},
        "rules": CONFIG["rules"],
        "implementation": implementation,
    }
    optimizer = build_optimizer(config, model)
    switch = {"fused": True} if implementation == "fused" else {"foreach": implementation == "foreach"}
    groups = [
        {"params": [tensor], **optimizer.plan[name].options, **switch} for name, tensor in twin.named_parameters()
    ]
    single = type(optimizer)(groups, **switch)
    assert len(single.param_groups) > len(optimizer.param_groups)
    merged, alone = _trained(optimizer, model), _trained(single, twin)
    assert all(torch.equal(merged[name], alone[name]) for name in merged)
    assert any(not torch.equal(merged[name], value) for name, value in Net().state_dict().items())


@pytest.mark.parametrize("options", [{}, {"nesterov": False}, {"nesterov": False, "dampening": 0.5}])
def test_a_gradient_may_come_later_than_the_first_one_of_its_group(options):
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    twin = copy.deepcopy(model)
    merged = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1, **options}}, model)
    switch = {"fused": merged.param_groups[0].get("fused"), "foreach": merged.param_groups[0].get("foreach")}
    momentum = {"lr": 0.1, "momentum": 0.9, "nesterov": True, **options}
    single = torch.optim.SGD([{"params": [tensor]} for tensor in twin.parameters()], **momentum, **switch)
    for step in range(4):
        for net, optimizer in ((model, merged), (twin, single)):
            optimizer.zero_grad()
            (net.weight.square().sum() + (net.bias.square().sum() if step > 1 else 0.0)).backward()
            optimizer.step()
    assert all(map(torch.equal, model.parameters(), twin.parameters()))


def test_a_tensor_that_took_the_place_of_another_one_is_late_too():
    model = nn.ParameterList([torch.ones(3) for _ in range(4)])
    optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1}}, model)
    for tensor in model.parameters():
        tensor.grad = torch.ones(3)
    optimizer.step()
    new = nn.Parameter(torch.ones(3))
    new.grad = torch.ones(3)
    optimizer.param_groups[0]["params"][3] = new
    optimizer.step()
    assert not torch.equal(new, torch.ones(3))


def test_whoever_watches_groups_being_added_still_does(monkeypatch):
    seen = []
    adds = torch.optim.Optimizer.add_param_group

    @functools.wraps(adds)
    def watched(self, group):
        seen.append(len(group["params"]))
        return adds(self, group)

    monkeypatch.setattr(torch.optim.Optimizer, "add_param_group", watched)
    build_optimizer(CONFIG, Net())
    assert len(seen) == len(make_plan(CONFIG, Net()).groups)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_loop_that_must_be_one_is_told_to_torch(kind, device):
    model = nn.ParameterList([torch.zeros(2, 2, device=device)])
    optimizer = build_optimizer({"optimizer": {"type": kind, "lr": 0.1, "differentiable": True}}, model)
    assert optimizer.plan.groups[0].implementation == "for-loop"
    assert optimizer.param_groups[0]["foreach"] is False


@pytest.mark.parametrize(("implementation", "switch"), [("fused", "fused"), ("foreach", "foreach")])
def test_the_implementation_is_told_to_torch_and_shown_by_the_plan(implementation, switch):
    optimizer = build_optimizer({**CONFIG, "implementation": implementation}, Net())
    assert all(group[switch] is True for group in optimizer.param_groups)
    assert {group.implementation for group in optimizer.plan.groups} == {implementation}


def _chosen(
    kind: str, shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32, device: str = "cpu", **options: Any
) -> set[str]:
    model = nn.ParameterList([torch.zeros(shape, dtype=dtype, device=device) for shape in shapes])
    return {g.implementation for g in build_optimizer({"optimizer": {"type": kind, **options}}, model).plan.groups}


def test_auto_prefers_fused_then_foreach_then_the_loop():
    def chosen(kind: str, dtype: torch.dtype = torch.float32, **options: Any) -> set[str]:
        return _chosen(kind, [(2, 2)] * 4, dtype, **options)

    assert chosen("adamw") == {"fused"}
    assert chosen("adamw", torch.bfloat16) == {"fused"}
    assert chosen("adamw", torch.complex64) == {"foreach"}
    assert chosen("RAdam") == {"foreach"}
    assert chosen("SparseAdam") == {"for-loop"}
    assert chosen("adamw", differentiable=True) == {"for-loop"}


PLAIN = {"kind": "sgd", "momentum": 0.0, "nesterov": False}
DECAYING = {**PLAIN, "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("options", "shapes", "on_cpu", "elsewhere"),
    [
        ({"kind": "RMSprop"}, [(8,)] * 3, "for-loop", "foreach"),
        ({"kind": "RMSprop"}, [(8,)] * 4, "foreach", "foreach"),
        ({"kind": "RMSprop"}, [(512, 512)] * 4, "foreach", "foreach"),
        ({"kind": "RMSprop"}, [(512, 512)] * 5, "for-loop", "foreach"),
        ({"kind": "sgd", "nesterov": False, "dampening": 0.5}, [(512, 512)] * 5, "for-loop", "foreach"),
        ({"kind": "sgd"}, [(8,)], "fused", "fused"),
        (PLAIN, [(64, 64)] * 5, "for-loop", "fused"),
        (PLAIN, [(64, 64)] * 6, "foreach", "fused"),
        (PLAIN, [(16,)] * 6, "fused", "fused"),
        (PLAIN, [(17,)] * 6, "foreach", "fused"),
        (PLAIN, [(128, 128)] * 6, "fused", "fused"),
        (PLAIN, [(64, 64)] * 4 + [(8,)] * 4, "fused", "fused"),
        ({**PLAIN, "maximize": True}, [(64, 64)] * 6, "fused", "fused"),
        (DECAYING, [(64, 64)], "for-loop", "fused"),
        (DECAYING, [(128, 128)], "fused", "fused"),
        (DECAYING, [(64, 64)] * 2, "fused", "fused"),
    ],
)
def test_on_a_cpu_auto_minds_what_kernels_for_many_tensors_cost(options, shapes, on_cpu, elsewhere):
    assert _chosen(shapes=shapes, **options) == {on_cpu}
    assert _chosen(shapes=shapes, device="meta", **options) == {elsewhere}


@pytest.mark.parametrize(("implementation", "foreach"), [("auto", None), ("for-loop", False)])
def test_a_loop_chosen_by_auto_is_left_to_torch(implementation, foreach):
    config = {"optimizer": {"type": "RMSprop", "lr": 0.1}, "implementation": implementation}
    optimizer = build_optimizer(config, nn.Linear(2, 2))
    assert optimizer.plan.groups[0].implementation == "for-loop"
    assert optimizer.param_groups[0]["foreach"] is foreach


def test_a_saved_plan_knows_the_device_only_where_it_was_known():
    config, model = {"optimizer": {"type": "RMSprop", "lr": 0.1}}, nn.Linear(2, 2)
    plan = make_plan(config, model)
    assert plan.groups[0].implementation == "for-loop"
    assert Plan.from_json(plan.to_json()).groups == plan.groups
    older = {key: value for key, value in plan.to_dict().items() if key not in ("on_cpu", "checksum")}
    older["checksum"] = checksum(older)
    assert Plan.from_json(json.dumps(older)).groups[0].implementation == "foreach"
    assert make_plan(config, Inventory.from_dict(plan.inventory.to_dict())).groups[0].implementation == "foreach"


def test_an_implementation_that_does_not_exist_is_refused():
    model = Net()
    config = {
        "optimizer": {"type": "RAdam"},
        "rules": [{"type": "freeze", "patterns": ["stem"]}],
        "implementation": "fused",
    }
    with pytest.raises(ConfigError, match=r"implementation: RAdam has no fused implementation.*It has: foreach"):
        build_optimizer(config, model)
    assert all(tensor.requires_grad for tensor in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"type": "LBFGS"},
        {"type": "adamw", "fused": True, "foreach": True},
        {"type": "Optimizer"},
        {"type": "Rprop", "etas": [2, 1]},
    ],
)
def test_what_the_class_itself_refuses_changes_nothing(options):
    model = Net()
    config = {
        "optimizer": options,
        "rules": [{"type": "freeze", "patterns": ["stem"]}, {"type": "match", "table": {"head": {"lr_mult": 0.5}}}],
    }
    with pytest.raises(OptimBuildError):
        build_optimizer(config, model)
    assert all(tensor.requires_grad for tensor in model.parameters())


def test_a_tensor_that_is_no_leaf_is_refused_with_the_reason_of_torch():
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    model.weight.mul_(torch.ones(1, requires_grad=True))
    assert not model.weight.is_leaf
    with pytest.raises(ConfigError, match=r"adamw refuses: ValueError: .*can't optimize a non-leaf Tensor"):
        build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}}, model)


def test_sparse_gradients_are_not_given_to_a_kernel_that_cannot_take_them():
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0, "nesterov": False}}, model)
    before = model[0].weight.detach().clone()
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model[0].weight)
    assert optimizer.plan.groups[0].implementation != "fused"


def test_a_later_build_does_not_train_what_an_earlier_one_froze():
    model = Net()
    build_optimizer({**CONFIG, "rules": [{"type": "freeze", "patterns": ["stem"]}]}, model)
    assert "stem.0.weight" in build_optimizer(CONFIG, model).plan.frozen
    model.requires_grad_(True)
    assert build_optimizer(CONFIG, model).plan.frozen == ()


def test_frozen_parameters_have_no_gradient_and_no_group():
    model = Net()
    optimizer = build_optimizer(
        {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["stem"]}]}, model
    )
    assert not any(tensor.requires_grad for tensor in model.stem.parameters())
    assert all(tensor.requires_grad for tensor in model.blocks.parameters())
    assert not {id(t) for t in model.stem.parameters()} & {id(t) for g in optimizer.param_groups for t in g["params"]}


def test_a_tied_tensor_is_optimized_once_and_a_rule_for_its_alias_applies():
    model = Tied()
    config = {
        "optimizer": {"type": "adamw", "lr": 1.0},
        "rules": [{"type": "match", "table": {"lm_head": {"lr": 0.5}}}],
    }
    optimizer = build_optimizer(config, model)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    assert optimizer.plan["lm_head.weight"].name == "embed.weight"
    assert optimizer.plan["embed.weight"].lr == 0.5


def test_a_meta_model_builds():
    with torch.device("meta"):
        model = Net()
    assert len(build_optimizer(CONFIG, model).param_groups) == len(make_plan(CONFIG, model).groups)


def test_lr_schedulers_keep_the_relative_learning_rates():
    optimizer = build_optimizer(CONFIG, Net())
    base = [group["lr"] for group in optimizer.param_groups]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [lr * 0.1 for lr in base]
    assert scheduler.base_lrs == base


def test_a_fixed_option_reaches_every_group():
    optimizer = build_optimizer({"optimizer": {"type": "sgd_linear_probing", "lr": 0.1}}, Net())
    assert {(g["momentum"], g["nesterov"], g["weight_decay"]) for g in optimizer.param_groups} == {(0.9, False, 0.0)}
