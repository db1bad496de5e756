"""Old layouts load unchanged: every parameter gets its own state, and state without names is an error."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from optimbuild import CheckpointError, OptimBuildError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from tests.checkpoint.training import CONFIG, SGD, net, resumed, same, train, trained, weights
from tests.models import Tied

ONLY_NORMS = {"type": "no_decay", "bias": False, "other_biases": False, "one_dimensional": False, "vectors": False}


def one_group_a_parameter(model: nn.Module, config: dict[str, Any], named: bool) -> torch.optim.Optimizer:
    """Build what older projects built with plain torch: a group for each parameter, with the planned options."""
    plan = build_optimizer(config, copy.deepcopy(model)).plan  # type: ignore[attr-defined]
    groups = []
    for name, tensor in model.named_parameters():
        options = plan[name].options
        group = {"params": [tensor], "lr": options["lr"], "weight_decay": options["weight_decay"]}
        groups.append(group | ({"name": name} if named else {}))
    if config is SGD:
        return torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, fused=True)


@pytest.mark.parametrize("config", [CONFIG, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("named", [True, False], ids=["internvl", "mmengine"])
@pytest.mark.parametrize("door", ["load_optimizer_state", "load_state_dict"])
def test_one_group_per_parameter_resumes_bit_for_bit(config: Any, named: bool, door: str) -> None:
    whole = net()
    old = one_group_a_parameter(whole, config, named)
    train(whole, old, range(5))
    state = copy.deepcopy(old.state_dict())
    again, fresh = resumed(whole, config)
    if door == "load_state_dict":
        fresh.load_state_dict(state)
    else:
        report = load_optimizer_state(fresh, state)
        assert not report.changes
        assert ("with `name`" if named else "in module order") in report.layout
    train(again, fresh, range(5, 10))
    train(whole, old, range(5, 10))
    assert same(weights(again), weights(whole))


def test_a_state_of_mmengines_own_constructor_resumes() -> None:
    whole = net()
    wrapper = DefaultOptimWrapperConstructor(
        {"optimizer": {"type": "AdamW", "lr": 1e-2, "weight_decay": 0.05, "fused": True}},
        {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0, "flat_decay_mult": 0.0},
    )(whole)
    train(whole, wrapper.optimizer, range(5))
    config = {**CONFIG, "rules": [{"type": "no_decay", "vectors": False}]}
    again, fresh = resumed(whole, config)
    fresh.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    train(again, fresh, range(5, 10))
    train(whole, wrapper.optimizer, range(5, 10))
    assert same(weights(again), weights(whole))


def one_group_a_parameter_by_module(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Group as detectron2 does, which no registry has: module by module, norms apart, each tensor once."""
    groups: list[dict[str, Any]] = []
    seen = set()
    for module in model.modules():
        for tensor in module.parameters(recurse=False):
            if tensor.requires_grad and tensor not in seen:
                seen.add(tensor)
                is_norm = isinstance(module, nn.LayerNorm | nn.BatchNorm1d)
                groups.append({"params": [tensor], "lr": 1e-2, "weight_decay": 0.0 if is_norm else decay})
    return groups


class CountingAdam(torch.optim.AdamW):
    """Keeps its step as a plain number, as the Adam of fairseq does; that package is not installed here."""

    def state_dict(self) -> dict[str, Any]:
        state = copy.deepcopy(super().state_dict())
        for found in state["state"].values():
            found["step"] = int(found["step"])
        kept = ("params", "lr", "betas", "eps", "weight_decay")
        state["param_groups"] = [{key: group[key] for key in kept} for group in state["param_groups"]]
        return state


@pytest.mark.parametrize("frozen", [False, True], ids=["all", "some frozen"])
@pytest.mark.parametrize("project", ["detectron2", "fairseq"])
def test_the_groups_of_other_projects_resume_bit_for_bit(project: str, frozen: bool) -> None:
    whole = net()
    whole.blocks[0].requires_grad_(not frozen)
    if project == "detectron2":
        old = torch.optim.AdamW(one_group_a_parameter_by_module(whole, 0.05), fused=True)
    else:
        trainable = list(filter(lambda tensor: tensor.requires_grad, whole.parameters()))
        old = CountingAdam(trainable, lr=1e-2, weight_decay=0.05, fused=True)
    train(whole, old, range(5))
    rules = [{"type": "freeze", "patterns": ["blocks.0"]}] if frozen else []
    if project == "detectron2":
        rules.append(ONLY_NORMS)
    again, fresh = resumed(whole, {"optimizer": CONFIG["optimizer"], "rules": rules})
    report = load_optimizer_state(fresh, old.state_dict())
    assert not report.changes
    train(again, fresh, range(5, 10))
    train(whole, old, range(5, 10))
    assert same(weights(again), weights(whole))


def test_one_flat_tensor_for_all_parameters_is_refused() -> None:
    """As fairseq keeps it in half precision, unless it is told not to flatten."""
    flat = nn.Parameter(torch.cat([tensor.detach().flatten() for tensor in net().parameters()]))
    refusal(torch.optim.AdamW([flat]).state_dict(), "it holds 1 and the model has 25")


def test_unnamed_groups_of_trainable_parameters_get_the_models_names() -> None:
    whole = net()
    for tensor in whole.blocks[0].parameters():
        tensor.requires_grad_(False)
    old = torch.optim.AdamW([{"params": [tensor]} for tensor in whole.parameters() if tensor.requires_grad], lr=1e-2)
    train(whole, old, range(2))
    fresh = build_optimizer(CONFIG, whole)
    report = load_optimizer_state(fresh, old.state_dict())
    moments = {name: old.state[tensor]["exp_avg"] for name, tensor in whole.named_parameters() if tensor.requires_grad}
    found = {name: kept["exp_avg"] for name, kept in optimizer_state(fresh)["state"].items()}
    assert same(found, moments)
    assert len(report.loaded) == len(moments)


def test_a_single_unnamed_group_is_named_from_the_model() -> None:
    whole = net()
    old = torch.optim.AdamW(whole.parameters(), lr=1e-2)
    train(whole, old, range(2))
    _, fresh = resumed(whole)
    assert load_optimizer_state(fresh, old.state_dict()).layout == "unnamed, in module order"


def test_torchs_own_layout_with_param_names_resumes() -> None:
    whole = net()
    old = torch.optim.AdamW(whole.named_parameters(), lr=1e-2, fused=True)
    train(whole, old, range(2))
    state = copy.deepcopy(old.state_dict())
    _, fresh = resumed(whole)
    report = load_optimizer_state(fresh, state)
    assert report.layout == "torch, with param_names"
    assert same(optimizer_state(fresh)["state"], {name: old.state[p] for name, p in whole.named_parameters()})


def test_old_step_counts_that_are_plain_numbers_become_exact_tensors() -> None:
    whole = net()
    old = one_group_a_parameter(whole, CONFIG, named=True)
    train(whole, old, range(3))
    state = copy.deepcopy(old.state_dict())
    for found in state["state"].values():
        found["step"] = int(found["step"])
    again, fresh = resumed(whole)
    load_optimizer_state(fresh, state)
    assert {(found["step"].dtype, float(found["step"])) for found in fresh.state.values()} == {(torch.float32, 3.0)}
    train(again, fresh, range(3, 5))
    train(whole, old, range(3, 5))
    assert same(weights(again), weights(whole))


def test_sgd_without_momentum_buffers_yet_resumes_without() -> None:
    whole = net()
    old = one_group_a_parameter(whole, SGD, named=True)
    train(whole, old, range(1))
    state = copy.deepcopy(old.state_dict())
    for found in list(state["state"].values())[::2]:
        found["momentum_buffer"] = None
    state["state"][1] = None  # as ZeRO leaves what belongs to another rank
    _, fresh = resumed(whole, {**SGD, "implementation": "foreach"})
    report = load_optimizer_state(fresh, state)
    assert not report.missing
    assert len(report.loaded) == len(fresh.state) < len(weights(whole))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module.module."])
def test_what_wrappers_add_to_saved_names_is_left_out(prefix: str) -> None:
    whole = net()
    old = one_group_a_parameter(whole, CONFIG, named=True)
    train(whole, old, range(2))
    state = copy.deepcopy(old.state_dict())
    for group in state["param_groups"]:
        group["name"] = prefix + group["name"].replace("blocks.0.", "blocks.0._checkpoint_wrapped_module.")
    _, fresh = resumed(whole)
    assert set(load_optimizer_state(fresh, state).loaded) == set(weights(whole))


def test_state_saved_under_another_name_of_a_shared_tensor_is_found() -> None:
    model = Tied()
    optimizer = build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}}, model)
    model(torch.arange(4)).sum().backward()
    optimizer.step()
    state = optimizer_state(optimizer)
    for table in (state["state"], state["params"]):
        table["lm_head.weight"] = table.pop("embed.weight")
    fresh = build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}}, model)
    assert "embed.weight" in load_optimizer_state(fresh, state).loaded


def test_frozen_parameters_without_state_in_a_save_are_no_mismatch() -> None:
    """The published InternImage code hands frozen parameters to the optimizer as well."""
    frozen = {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["blocks.0"]}]}
    whole = net()
    old = one_group_a_parameter(whole, CONFIG, named=True)
    fresh = build_optimizer(frozen, whole)
    train(whole, old, range(2))
    report = load_optimizer_state(fresh, old.state_dict())
    assert not report.ignored
    assert len(report.loaded) == len(weights(whole)) - 8


def test_unknown_keys_of_old_groups_are_left_out() -> None:
    whole = net()
    old = one_group_a_parameter(whole, CONFIG, named=True)
    train(whole, old, range(1))
    state = copy.deepcopy(old.state_dict())
    for i, group in enumerate(state["param_groups"]):
        group |= {"lr_scale": 0.5, "group_name": f"layer_{i}", "initial_lr": group["lr"]}
    _, fresh = resumed(whole)
    fresh.load_state_dict(state)
    assert not any("lr_scale" in group or "group_name" in group for group in fresh.param_groups)
    assert [group["name"] for group in fresh.param_groups] == list(fresh.plan.group_names)
    assert all(group["initial_lr"] == group["lr"] for group in fresh.param_groups)


def refusal(state: Any, message: str) -> None:
    _, fresh = trained(steps=0)
    with pytest.raises(CheckpointError, match=message):
        load_optimizer_state(fresh, state)
    assert not fresh.state


def test_groups_that_hold_several_parameters_and_no_names_are_refused() -> None:
    parameters = list(net().parameters())
    old = torch.optim.AdamW([{"params": parameters[:5]}, {"params": parameters[5:]}])
    refusal(old.state_dict(), r"nothing says which state.*2 groups hold several.*`param_names`")


def test_an_unnamed_save_of_another_number_of_parameters_is_refused() -> None:
    old = torch.optim.AdamW([{"params": [tensor]} for tensor in net().parameters()][:-1])
    refusal(old.state_dict(), "nothing says which state.*it holds 24 and the model has 25")


def test_an_unnamed_save_needs_a_plan_to_take_names_from() -> None:
    model = net()
    old = torch.optim.AdamW(model.parameters())
    plain = torch.optim.AdamW(model.named_parameters())
    with pytest.raises(CheckpointError, match="no plan"):
        load_optimizer_state(plain, old.state_dict())


def test_a_name_that_is_there_twice_is_refused() -> None:
    old = one_group_a_parameter(net(), CONFIG, named=True).state_dict()
    old["param_groups"][1]["name"] = old["param_groups"][0]["name"]
    refusal(old, "1 name in the saved groups more than once: pos_embed")
    state = optimizer_state(trained()[1])
    state["params"]["module.head.bias"] = state["params"]["head.bias"]
    refusal(state, "the saved names 'head.bias' and 'module.head.bias' both stand for 'head.bias'")


def test_a_whole_checkpoint_is_refused_with_the_entry_to_pass() -> None:
    state = {"model": net().state_dict(), "optimizer": trained()[1].state_dict()}
    refusal(state, r"no optimizer state.*'model', 'optimizer'.*Pass the entry 'optimizer'")


def test_an_empty_state_is_refused_with_the_reason() -> None:
    refusal({}, "to_rank.*not chosen")


def test_a_newer_version_is_refused() -> None:
    refusal(optimizer_state(trained()[1]) | {"version": 2}, "version 2; this optimbuild reads 1")


def test_state_of_no_parameter_is_refused() -> None:
    state = optimizer_state(trained()[1])
    state["state"]["ghost"] = {"step": torch.tensor(1.0)}
    refusal(state, "no entry in `params` for 1 parameter with state: 'ghost'")
    old = one_group_a_parameter(net(), CONFIG, named=True).state_dict()
    old["state"][99] = {"step": torch.tensor(1.0)}
    refusal(old, "in no group: 99")


def mangled(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """Return nested data with one thing in it replaced by nonsense."""
    if depth == 4 or rng.random() < 0.15 or not isinstance(value, (dict, list)) or not value:
        return rng.choice([None, 3, -1.5, "x", [], {}, [None], {"a": 1}, torch.zeros(3), object(), float("nan")])
    if isinstance(value, dict):
        key = rng.choice(list(value))
        return {**value, key: mangled(value[key], rng, depth + 1)}
    place = rng.randrange(len(value))
    return [*value[:place], mangled(value[place], rng, depth + 1), *value[place + 1 :]]


def test_nonsense_is_a_checkpoint_error_and_changes_nothing() -> None:
    """A thousand saves with something in them replaced: refused, or what was replaced did not matter."""
    rng = random.Random(0)
    whole, optimizer = trained()
    saves = [
        optimizer_state(optimizer),
        optimizer.state_dict(),
        one_group_a_parameter(whole, CONFIG, True).state_dict(),
    ]
    refused = 0
    _, fresh = resumed(whole)
    for i in range(1000):
        fresh.state.clear()
        try:
            load_optimizer_state(fresh, mangled(saves[i % 3], rng), options=rng.choice(["config", "checkpoint"]))  # type: ignore[arg-type]
        except OptimBuildError:
            refused += 1
            assert not fresh.state
    assert refused > 500
