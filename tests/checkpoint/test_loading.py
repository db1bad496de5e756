"""Resuming by name: whatever changed since the save, every parameter gets its own state."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, OptimBuildWarning, build_optimizer
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, resumable, save
from tests.checkpoint.training import CONFIG, PROBING, SGD, built, net, resumed, same, train, trained, weights


@pytest.mark.parametrize("config", [CONFIG, SGD, PROBING], ids=["adamw", "sgd", "probing"])
@pytest.mark.parametrize("implementation", ["auto", "foreach", "for-loop"])
def test_a_resumed_training_equals_the_uninterrupted_one_bit_for_bit(config: Any, implementation: str) -> None:
    config = {**config, "implementation": implementation}
    whole, optimizer = trained(config, steps=5)
    state = copy.deepcopy(optimizer_state(optimizer))
    again, fresh = resumed(whole, config)
    train(whole, optimizer, range(5, 10))
    report = load_optimizer_state(fresh, state)
    train(again, fresh, range(5, 10))
    assert same(weights(again), weights(whole))
    assert not report.changes
    assert not report.missing
    assert not report.ignored
    assert len(report.loaded) == len(weights(whole))


def test_regrouped_and_reordered_parameters_keep_their_own_state() -> None:
    """One group a parameter, in reverse order, resumes into merged groups, and back."""
    whole, optimizer = trained()
    plan = optimizer.plan  # type: ignore[attr-defined]

    def single(model: nn.Module) -> torch.optim.Optimizer:
        groups = [
            {"params": [tensor], "param_names": [name], **plan[name].options}
            for name, tensor in reversed(list(model.named_parameters()))
        ]
        return torch.optim.AdamW(groups, fused=True)

    apart = net()
    apart.load_state_dict(whole.state_dict())
    reordered = single(apart)
    load_optimizer_state(reordered, optimizer_state(optimizer))
    train(apart, reordered, range(5, 8))
    merged, back = resumed(apart)
    load_optimizer_state(back, optimizer_state(reordered))
    train(merged, back, range(8, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(merged), weights(whole))


def test_options_config_keeps_the_configs_options_and_reports_what_changed() -> None:
    whole, optimizer = trained(SGD)
    slower = {**SGD, "optimizer": {**SGD["optimizer"], "lr": 5e-3}}
    _, fresh = resumed(whole, slower)
    report = load_optimizer_state(fresh, optimizer_state(optimizer))
    assert {group["lr"] for group in fresh.param_groups} == {5e-3}
    names = len(weights(whole))
    assert f"lr of {names} parameters: 0.01 → 0.005: " in str(report)
    assert "the options of the config count" in str(report)


def test_options_checkpoint_takes_the_saved_options() -> None:
    whole, optimizer = trained(SGD)
    slower = {**SGD, "optimizer": {**SGD["optimizer"], "lr": 5e-3}}
    _, fresh = resumed(whole, slower)
    report = load_optimizer_state(fresh, optimizer_state(optimizer), options="checkpoint")
    assert {group["lr"] for group in fresh.param_groups} == {1e-2}
    assert "the options of the checkpoint count" in str(report)


def test_a_parameter_frozen_since_is_unexpected_and_can_be_left_out() -> None:
    whole, optimizer = trained()
    frozen = {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["blocks.0"]}]}
    state = optimizer_state(optimizer)
    _, fresh = resumed(whole, frozen)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.norm\.weight \(frozen now\).*unexpected='ignore'"):
        load_optimizer_state(fresh, state)
    assert not fresh.state
    report = load_optimizer_state(fresh, state, unexpected="ignore")
    assert "blocks.0.norm.weight" in report.ignored
    assert "8 saved ones left out: blocks.0." in str(report)
    assert set(optimizer_state(fresh)["state"]) == {name for name in weights(whole) if "blocks.0" not in name}


def test_an_unfrozen_parameter_is_missing_and_can_start_afresh() -> None:
    frozen = {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["blocks.0"]}]}
    whole, optimizer = trained(frozen)
    state = optimizer_state(optimizer)
    again, fresh = resumed(whole)
    with pytest.raises(CheckpointError, match=r"8 parameters without saved state: blocks\.0\..*missing='init'"):
        load_optimizer_state(fresh, state)
    assert not fresh.state
    report = load_optimizer_state(fresh, state, missing="init")
    assert all("blocks.0" in name for name in report.missing)
    assert "8 without saved state start afresh: blocks.0." in str(report)
    train(again, fresh, range(5, 6))
    steps = {name: float(found["step"]) for name, found in optimizer_state(fresh)["state"].items()}
    assert steps == {name: 1.0 if "blocks.0" in name else 6.0 for name in weights(whole)}


@pytest.mark.parametrize("kind", ["adamw", "sgd", "Adagrad"])
@pytest.mark.parametrize("through", ["load_optimizer_state", "load_state_dict"])
def test_missing_parameters_start_afresh_in_an_optimizer_that_has_stepped(kind: str, through: str) -> None:
    config = {"optimizer": {"type": kind, "lr": 1e-2}, "resume": {"missing": "init"}}
    whole, optimizer = trained(config)
    state = optimizer_state(optimizer)
    for part in ("state", "params"):
        del state[part]["head.bias"]
    _, fresh = resumed(whole, config)
    _, stepped = trained(config, steps=3)
    for one in (fresh, stepped):
        if through == "load_optimizer_state":
            load_optimizer_state(one, state, missing="init")
        else:
            one.load_state_dict(state)
    assert same(optimizer_state(stepped)["state"], optimizer_state(fresh)["state"])


def test_a_parameter_saved_before_its_first_gradient_has_no_state() -> None:
    model, optimizer = built()
    model.head.weight.square().sum().backward()
    optimizer.step()
    _, fresh = trained()
    report = load_optimizer_state(fresh, optimizer_state(optimizer))
    assert set(optimizer_state(fresh)["state"]) == {"head.weight"} == set(report.loaded)
    assert not report.missing


def test_fused_state_resumes_unfused_and_back_with_the_exact_step_count() -> None:
    slow = {**CONFIG, "implementation": "for-loop"}
    whole, optimizer = trained()
    state = optimizer_state(optimizer)
    _, unfused = resumed(whole, slow)
    load_optimizer_state(unfused, state)
    assert same(optimizer_state(unfused)["state"], state["state"])
    _, fused = resumed(whole)
    load_optimizer_state(fused, optimizer_state(unfused), options="checkpoint")
    assert same(optimizer_state(fused)["state"], state["state"])
    assert all(group["fused"] for group in fused.param_groups)


def test_loading_one_state_into_two_optimizers_keeps_them_apart() -> None:
    whole, optimizer = trained()
    state = optimizer_state(optimizer)
    first, one = resumed(whole)
    load_optimizer_state(one, state)
    train(first, one, range(5, 10))
    second, other = resumed(whole)
    load_optimizer_state(other, state)
    train(second, other, range(5, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(first), weights(whole))
    assert same(weights(second), weights(whole))


def test_nothing_is_loaded_where_something_does_not_fit() -> None:
    whole, optimizer = trained()
    state = optimizer_state(optimizer)
    state["state"]["head.bias"]["exp_avg"] = torch.zeros(5)
    _, other = trained(steps=2)
    before = copy.deepcopy(optimizer_state(other))
    with pytest.raises(CheckpointError, match=r"head\.bias \(exp_avg\): \(5,\) saved, \(4,\) here"):
        load_optimizer_state(other, state, options="checkpoint")
    assert same(optimizer_state(other), before)
    del whole


def test_load_state_dict_of_a_built_optimizer_takes_state_by_name() -> None:
    whole, optimizer = trained()
    again, fresh = resumed(whole)
    fresh.load_state_dict(optimizer_state(optimizer))
    train(again, fresh, range(5, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(again), weights(whole))


def test_load_state_dict_matches_by_name_and_not_by_position() -> None:
    whole, optimizer = trained()
    state = optimizer.state_dict()
    state["param_groups"].reverse()  # torch would take each tensor for another one, or refuse
    again, fresh = resumed(whole)
    fresh.load_state_dict(state)
    train(again, fresh, range(5, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(again), weights(whole))


def test_a_schedule_goes_on_from_its_middle_through_load_state_dict() -> None:
    def scheduled(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.CosineAnnealingLR:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)

    def go(model: nn.Module, optimizer: Any, scheduler: Any, steps: range) -> None:
        for step in steps:
            train(model, optimizer, range(step, step + 1))
            scheduler.step()

    whole, optimizer = built()
    scheduler = scheduled(optimizer)
    go(whole, optimizer, scheduler, range(5))
    again, fresh = resumed(whole)
    rescheduled = scheduled(fresh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the middle of a schedule is no change of the plan
        fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rescheduled.load_state_dict(scheduler.state_dict())
    go(again, fresh, rescheduled, range(5, 10))
    go(whole, optimizer, scheduler, range(5, 10))
    assert same(weights(again), weights(whole))
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in optimizer.param_groups]


def test_load_state_dict_warns_where_saved_options_override_the_configs() -> None:
    whole, optimizer = trained(SGD)
    slower = {**SGD, "optimizer": {**SGD["optimizer"], "lr": 5e-3}}
    _, fresh = resumed(whole, slower)
    with pytest.warns(OptimBuildWarning, match=r"options of the save count.*lr of 25 parameters: 0.01 → 0.005"):
        fresh.load_state_dict(optimizer.state_dict())
    assert {group["lr"] for group in fresh.param_groups} == {1e-2}


def test_parameters_of_one_group_cannot_resume_different_options() -> None:
    whole, optimizer = trained(SGD)
    _, fresh = resumed(whole, {**SGD, "rules": []})
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(CheckpointError, match=r"weight_decay was saved as .* share a group now.*options='config'"):
        fresh.load_state_dict(optimizer.state_dict())
    assert same(fresh.state_dict(), before)
    load_optimizer_state(fresh, optimizer.state_dict(), options="config")
    assert len(fresh.state) == len(weights(whole))


def test_torchs_own_load_state_dict_hooks_still_run() -> None:
    whole, optimizer = trained()
    _, fresh = resumed(whole)
    seen = []
    fresh.register_load_state_dict_pre_hook(lambda *_: seen.append("pre"))
    fresh.register_load_state_dict_post_hook(lambda *_: seen.append("post"))
    fresh.load_state_dict(optimizer_state(optimizer))
    assert seen == ["pre", "post"]


@pytest.mark.parametrize("through", ["load_state_dict", "config", "checkpoint", "directory"])
def test_hooks_after_a_load_run_on_every_way_to_load(through: str, tmp_path: Path) -> None:
    whole, optimizer = trained()
    _, fresh = resumed(whole)
    seen = []
    fresh.register_load_state_dict_post_hook(lambda one: seen.append(len(one.state)))
    if through == "load_state_dict":
        fresh.load_state_dict(optimizer.state_dict())
    elif through == "directory":
        save(optimizer, tmp_path)
        load(fresh, tmp_path)
    else:
        load_optimizer_state(fresh, optimizer_state(optimizer), options=through)  # type: ignore[arg-type]
    assert seen == [len(optimizer.state)]


@pytest.mark.parametrize("options", ["config", "checkpoint"])
def test_the_watch_over_lrs_starts_from_those_that_were_loaded(options: Any) -> None:
    """Saved LRs of other ratios than the plan's are what the caller chose."""
    whole, optimizer = trained(CONFIG)
    for place, group in enumerate(optimizer.param_groups):
        group["lr"] = group["initial_lr"] = 1e-3 * (place + 1)
    again, fresh = resumed(whole)
    load_optimizer_state(fresh, optimizer.state_dict(), options=options)
    train(again, fresh, range(5, 8))  # a warning would be an error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"options": "both"}, "options must be 'config' or 'checkpoint', not 'both'"),
        ({"missing": "skip"}, "missing must be 'error' or 'init'"),
        ({"unexpected": None}, "unexpected 'error' or 'ignore'"),
    ],
)
def test_an_unknown_choice_is_an_error(options: dict[str, Any], message: str) -> None:
    _, optimizer = trained()
    with pytest.raises(CheckpointError, match=message):
        load_optimizer_state(optimizer, optimizer_state(optimizer), **options)


def test_an_lr_that_is_a_tensor_stays_the_same_tensor() -> None:
    model = net()
    lr = torch.tensor(0.5)
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=lr, foreach=False, capturable=False)
    state = optimizer_state(optimizer)
    assert state["params"]["head.bias"]["lr"] == 0.5
    lr.fill_(0.25)
    load_optimizer_state(optimizer, state, options="checkpoint")
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == 0.5


def test_a_user_optimizer_with_numbers_in_its_state_resumes() -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for tensor in group["params"]:
                    self.state[tensor]["calls"] = self.state[tensor].get("calls", 0) + 1

    linear = nn.Linear(2, 2)
    optimizer = Counting(linear.named_parameters())
    optimizer.step()
    optimizer.step()
    again = Counting(nn.Linear(2, 2).named_parameters())
    load_optimizer_state(again, optimizer_state(optimizer))
    assert {found["calls"] for found in again.state.values()} == {2}
    assert all(type(found["calls"]) is int for found in again.state.values())


def test_the_state_of_a_wrapped_model_resumes_into_the_bare_model() -> None:
    whole, _ = trained()
    wrapped = torch.nn.DataParallel(whole)
    optimizer = build_optimizer(CONFIG, wrapped)
    train(wrapped, optimizer, range(5))
    state = optimizer_state(optimizer)
    _, fresh = resumed(whole)
    assert len(load_optimizer_state(fresh, state).loaded) == len(weights(whole))


class Asking(torch.optim.Optimizer):
    """Keeps a running sum, and cannot step without a closure, so that nobody can find out what it keeps."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        for group in self.param_groups:
            for tensor in group["params"]:
                self.state[tensor]["sum"] = tensor.detach().clone()
        return loss


def test_state_of_an_unknown_form_is_cast_by_torch() -> None:
    model = nn.Linear(2, 2)
    names, params = map(list, zip(*model.named_parameters(), strict=True))
    optimizer = Asking([{"params": params, "param_names": names}])
    resumable(optimizer)
    optimizer.step(lambda: 0.0)
    state = optimizer.state_dict()
    for found in state["state"].values():
        found["sum"] = found["sum"].double()
    optimizer.load_state_dict(state)
    assert set(optimizer.state) == set(model.parameters())
    assert all(found["sum"].dtype == torch.float32 for found in optimizer.state.values())


def test_load_state_dict_follows_the_resume_key_of_the_config() -> None:
    model, optimizer = trained()
    frozen = {"type": "freeze", "patterns": ["blocks.0"]}
    config = {**CONFIG, "rules": [*CONFIG["rules"], frozen]}
    narrower = build_optimizer(config, net())
    with pytest.raises(CheckpointError, match=r"frozen now.*\n  load_state_dict follows the config: `resume: "):
        narrower.load_state_dict(optimizer.state_dict())
    narrower = build_optimizer({**config, "resume": {"unexpected": "ignore"}}, net())
    narrower.load_state_dict(optimizer.state_dict())
    wider = build_optimizer({**CONFIG, "resume": {"missing": "init"}}, model)
    wider.load_state_dict(narrower.state_dict())
    assert sum(bool(wider.state[tensor]) for tensor in model.parameters()) == len(narrower.state)
    assert narrower.plan.fingerprint == build_optimizer(config, net()).plan.fingerprint  # type: ignore[attr-defined]
