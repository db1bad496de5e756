"""Norms whose running statistics a build keeps: through copies and wrappers, until a later build gives them back."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
import warnings
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import BaseModule
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from optimbuild import OptimBuildWarning, build_optimizer, make_plan
from optimbuild.build.kept_statistics import KeptStatistics, give_back_statistics
from tests import distributed
from tests.models import CONFIG, Net
from tests.properties import examples

KEEP: dict[str, Any] = {**CONFIG, "rules": [{"type": "freeze", "patterns": ["stem"], "keep_norm_stats": True}]}
LET_GO: dict[str, Any] = {**CONFIG, "rules": [{"type": "freeze", "patterns": ["stem"], "keep_norm_stats": False}]}


def kept(model: nn.Module, norm: nn.Module) -> bool:
    """Say whether training steps leave the statistics of a norm alone, and its flag says so at once."""
    model.train()
    flag = norm.training
    mean, count = norm.running_mean.clone(), norm.num_batches_tracked.clone()
    for _ in range(2):
        model(torch.randn(16, 8))
    same = torch.equal(mean, norm.running_mean) and torch.equal(count, norm.num_batches_tracked)
    assert same is not flag
    return same


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved_and_loaded]
)
def test_kept_statistics_stay_also_in_a_copy(copied):
    model = Net()
    build_optimizer(KEEP, model)
    original, model = model, copied(model)
    assert kept(model, model.stem[1])
    assert model.training
    assert model.stem[0].training
    assert model is original or model.stem[1] is not original.stem[1]
    assert model.stem[1].train() is model.stem[1]
    give_back_statistics(original)
    assert kept(model, model.stem[1]) is (model is not original)


def test_a_state_dict_does_not_show_kept_statistics():
    model, plain = Net(), Net()
    build_optimizer(KEEP, model)
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    model.load_state_dict(plain.state_dict())
    assert kept(model, model.stem[1])
    assert "KeptStatistics" in str(model)


def test_a_kept_norm_gives_in_train_mode_what_it_gives_in_eval_mode():
    model = Net()
    model.stem[1].running_mean.fill_(0.5)
    build_optimizer(KEEP, model)
    x = torch.randn(16, 8)
    assert torch.equal(model.train().stem(x), model.eval().stem(x))


def test_a_norm_without_parameters_is_kept_too():
    model = nn.ModuleDict(
        {"stem": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)), "head": nn.Linear(2, 2)}
    )
    build_optimizer(KEEP, model)
    assert not model.train()["stem"][1].training


@pytest.mark.parametrize("patterns", [["stem.0", "stem.2"], ["stem.0", "stem.2.weight"]])
def test_a_norm_without_parameters_is_kept_where_all_beside_it_are_frozen(patterns):
    layers = [nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2)]
    model = nn.ModuleDict({"stem": nn.Sequential(*layers), "head": nn.Linear(2, 2)})
    build_optimizer({**KEEP, "rules": [{"type": "freeze", "patterns": patterns}]}, model)
    assert model.train()["stem"][1].training == (patterns[1] == "stem.2.weight")


def test_a_model_of_mmengine_that_freezes_its_stages_is_not_disturbed():
    class Backbone(BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
            self.layer = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.layer.eval()
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.stem(x))

    model = Backbone()
    build_optimizer(KEEP, model)
    assert kept(model, model.stem[1])
    assert not model.layer[1].training
    model.eval()
    assert not model.training


class NormWithAct(nn.BatchNorm1d):
    """A norm with modules inside, as those of timm are."""

    def __init__(self) -> None:
        super().__init__(8)
        self.act, self.drop = nn.GELU(), nn.Dropout()


@pytest.mark.parametrize("training", [True, False])
def test_modules_inside_a_kept_norm_keep_their_modes(training):
    model = nn.Sequential(nn.Linear(8, 8), NormWithAct(), nn.Linear(8, 2)).train(training)
    model[1].act.train(not training)
    before = {name: module.training for name, module in model.named_modules()} | {"1": False}
    build_optimizer({**CONFIG, "rules": [{"type": "freeze", "patterns": ["0", "1"]}]}, model)
    assert {name: module.training for name, module in model.named_modules() if name in before} == before
    assert training or not any(module.training for module in model.modules() if module is not model[1].act)
    give_back_statistics(model)
    assert {name: module.training for name, module in model.named_modules()} == before | {"1": training}


# --- what follows the plan ---------------------------------------------------------------------------


def test_a_later_build_that_keeps_nothing_gives_statistics_back():
    model = Net()
    build_optimizer(KEEP, model)
    build_optimizer(LET_GO, model.eval())
    assert not model.stem[1].training
    assert not kept(model, model.stem[1])
    assert not any(isinstance(module, KeptStatistics) for module in model.modules())


def test_statistics_that_are_given_back_change_at_once():
    model = Net().train()
    build_optimizer(KEEP, model)
    assert not model.stem[1].training
    build_optimizer(LET_GO, model)
    assert model.stem[1].training


def test_a_later_build_finds_what_was_kept_in_a_copy():
    model = Net()
    build_optimizer(KEEP, model)
    model = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    build_optimizer(LET_GO, torch.compile(model))
    assert not kept(model, model.stem[1])


def test_a_norm_that_is_kept_twice_is_kept_once():
    model = Net()
    build_optimizer(KEEP, model)
    (child,) = [module for module in model.modules() if isinstance(module, KeptStatistics)]
    build_optimizer(KEEP, model)
    assert [module for module in model.modules() if isinstance(module, KeptStatistics)] == [child]


class Norms(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.norms = nn.ModuleList([nn.BatchNorm1d(8) for _ in range(count)])
        self.again = self.norms[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm in self.norms:
            x = norm(x)
        return self.head(x)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=4), st.booleans())
def test_of_several_builds_the_last_one_says_what_is_kept(builds, training):
    model = Norms(5).train(training)
    for chosen in builds:
        rules = [{"type": "freeze", "patterns": [f"norms.{i}" for i in sorted(chosen)]}] if chosen else []
        build_optimizer({**CONFIG, "rules": rules}, model)
    assert [norm.training for norm in model.norms] == [training and i not in builds[-1] for i in range(5)]
    model.train()
    assert [norm.training for norm in model.norms] == [i not in builds[-1] for i in range(5)]


def test_a_part_keeps_the_statistics_that_the_plan_keeps_in_it():
    plan = make_plan(KEEP, Net())
    part = Net()
    del part.blocks
    part.blocks = nn.ModuleList()
    build_optimizer(plan, part)
    assert kept(part, part.stem[1])
    other = nn.ModuleDict({"head": nn.Linear(8, 4)})
    build_optimizer(plan, other)
    assert "KeptStatistics" not in str(other)


def test_a_class_whose_train_ignores_children_is_told():
    class Own(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Any:
            self.training = mode
            return self

    model = nn.Sequential(nn.Linear(8, 8), Own(8), nn.Linear(8, 2))
    config = {**CONFIG, "rules": [{"type": "freeze", "patterns": ["0", "1"]}]}
    with pytest.warns(OptimBuildWarning, match="the running statistics of 1 go on changing: train"):
        build_optimizer(config, model)


# --- wrappers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_compiled_model_keeps_statistics_and_compiles_as_often_as_any(when):
    counts = []
    for config in (KEEP, LET_GO):
        graphs: list[Any] = []

        def backend(graph: Any, _: Any, graphs: list[Any] = graphs) -> Any:
            graphs.append(graph)
            return graph

        torch._dynamo.reset()
        model = Net()
        if when == "before":
            compiled = torch.compile(model, backend=backend, fullgraph=True)
            build_optimizer(config, compiled)
        else:
            build_optimizer(config, model)
            compiled = torch.compile(model, backend=backend, fullgraph=True)
        assert kept(compiled, model.stem[1]) is (config is KEEP)
        for mode in (True, False) * 2:
            compiled.train(mode)(torch.randn(16, 8))
        counts.append(len(graphs))
    assert counts[0] <= counts[1]


def under_ddp(wrapped_first: bool) -> tuple[bool, list[float]]:
    torch.manual_seed(0)
    model = Net()
    if wrapped_first:
        wrapper = DistributedDataParallel(model)
        optimizer = build_optimizer(KEEP, wrapper)
    else:
        optimizer = build_optimizer(KEEP, model)
        wrapper = DistributedDataParallel(model)
    is_kept = kept(wrapper, model.stem[1])
    for _ in range(2):
        wrapper(torch.randn(16, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return is_kept and int(model.stem[1].num_batches_tracked) == 0, model.head.weight.flatten().tolist()


@pytest.mark.parametrize("wrapped_first", [True, False])
def test_statistics_are_kept_under_ddp(wrapped_first):
    first, second = distributed.run(2, under_ddp, wrapped_first)
    assert first == second
    assert first[0]


def under_fsdp2(sharded_first: bool) -> bool:
    model = Net()
    if not sharded_first:
        build_optimizer({**KEEP, "implementation": "for-loop"}, model)
    for module in (model.stem[1], model):
        fully_shard(module)
    if sharded_first:
        build_optimizer({**KEEP, "implementation": "for-loop"}, model)
    assert isinstance(model.head.weight, DTensor)
    return kept(model, model.stem[1])


@distributed.needs_fsdp2_on_cpu
@pytest.mark.parametrize("sharded_first", [True, False])
def test_statistics_are_kept_under_fsdp2(sharded_first):
    assert distributed.run(2, under_fsdp2, sharded_first) == [True, True]


# --- replaced modules ------------------------------------------------------------------------------------


def steps_with_warnings(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int = 40) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            model.train()
            optimizer.step()
    return [str(warning.message) for warning in caught if "running statistics" in str(warning.message)]


def converted(model: nn.Module) -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def test_a_step_tells_that_sync_batch_norm_took_the_place_of_a_kept_norm():
    model = Net()
    optimizer = build_optimizer(KEEP, model)
    assert steps_with_warnings(optimizer, model, 3) == []
    (text,) = steps_with_warnings(optimizer, converted(model))
    assert "stem.1 was replaced by another module, as SyncBatchNorm.convert_sync_batchnorm does" in text
    assert "Convert a model before build_optimizer, or build once more" in text


def test_a_conversion_before_the_build_needs_no_more():
    model = converted(Net())
    optimizer = build_optimizer(KEEP, model)
    assert not model.train().stem[1].training
    assert steps_with_warnings(optimizer, model) == []


@pytest.mark.parametrize("config", [KEEP, LET_GO])
def test_the_next_build_puts_a_converted_model_right(config):
    model = Net()
    build_optimizer(KEEP, model)
    model = converted(model)
    assert model.train().stem[1].training
    optimizer = build_optimizer(config, model)
    assert model.train().stem[1].training is (config is LET_GO)
    assert steps_with_warnings(optimizer, model) == []


def test_a_step_tells_that_the_flag_of_a_kept_norm_was_set():
    model = Net()
    optimizer = build_optimizer(KEEP, model)
    model.stem[1].training = True
    with pytest.warns(OptimBuildWarning, match="stem.1 was set to train mode without calling train"):
        optimizer.step()


@pytest.mark.parametrize("release", [give_back_statistics, lambda model: build_optimizer(LET_GO, model)])
def test_a_step_tells_that_kept_statistics_were_given_back(release):
    model = Net()
    optimizer = build_optimizer(KEEP, model)
    release(model)
    (text,) = steps_with_warnings(optimizer, model)
    assert "stem.1 was given back, by give_back_statistics or by a later build" in text
    assert "without calling" not in text


def test_a_deep_copy_watches_over_the_norms_that_were_copied_with_it():
    model = Net()
    optimizer = build_optimizer(KEEP, model)
    other_model, other = copy.deepcopy((model, optimizer))
    alone, pickled = copy.deepcopy(optimizer), pickle.loads(pickle.dumps((model, optimizer)))[1]
    converted(model)
    for copied in (alone, pickled):  # they step no model that they know
        assert steps_with_warnings(copied, model) == []
    assert steps_with_warnings(other, other_model, 3) == []
    (text,) = steps_with_warnings(other, converted(other_model))
    assert "stem.1 was replaced by another module" in text


def test_an_optimizer_does_not_keep_the_norms_of_a_model_alive():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = build_optimizer({**CONFIG, "rules": [{"type": "freeze", "patterns": ["0", "1"]}]}, model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    parts = [weakref.ref(module) for module in (model, model[1])]
    del model
    gc.collect()
    assert [part() for part in parts] == [None, None]
    optimizer.step()
    scheduler.step()


def test_a_wrapped_a_removed_and_a_frozen_norm_are_no_matter():
    for change in (torch.compile, lambda norm: nn.Identity(), nn.Identity):
        model = Net()
        optimizer = build_optimizer(KEEP, model)
        model.stem[1] = change(model.stem[1])
        assert steps_with_warnings(optimizer, model) == []


def test_lost_statistics_are_not_told_where_the_watch_is_off():
    model = Net()
    optimizer = build_optimizer({**KEEP, "watch": False}, model)
    assert steps_with_warnings(optimizer, converted(model)) == []


# --- without optimbuild -----------------------------------------------------------------------------------


@pytest.mark.parametrize("give_back", [True, False])
def test_a_whole_saved_model_loads_without_optimbuild_once_given_back(give_back, tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    build_optimizer({**CONFIG, "rules": [{"type": "freeze", "patterns": ["0", "1"]}]}, model)
    if give_back:
        assert give_back_statistics(model) == ["1"]
    torch.save(model, tmp_path / "model.pt")
    program = (
        "import sys, torch; sys.modules['optimbuild'] = None; "
        f"print(torch.load({str(tmp_path / 'model.pt')!r}, weights_only=False)[1].training)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) is give_back, done.stderr
    assert give_back or "optimbuild" in done.stderr


def test_a_model_under_compile_and_a_bare_norm_are_given_back_too():
    model = Net()
    build_optimizer(KEEP, model)
    assert give_back_statistics(torch.compile(model)) != []
    assert not kept(model, model.stem[1])
    norm = nn.BatchNorm1d(8)
    norm.add_module("kept_statistics", KeptStatistics(norm))
    assert give_back_statistics(norm) == [""]
    assert norm.train().training
