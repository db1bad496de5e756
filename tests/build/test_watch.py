"""The watch: training warns once if the LRs of the groups lose the ratios of the plan, and says what keeps them."""

from __future__ import annotations

import copy
import itertools
import linecache
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import scheduler as mm
from torch import nn
from torch.optim import lr_scheduler as sched
from torch.optim.swa_utils import SWALR
from transformers import SchedulerType, get_scheduler

from optimbuild import OptimBuildWarning, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from tests import distributed
from tests.copies import COPIES
from tests.models import CONFIG, Net
from tests.properties import examples

STEPS = 120
WARM = 20
Optimizer = torch.optim.Optimizer


def lrs(optimizer: Optimizer, factor: float = 1.0) -> list[float]:
    return [factor * group["lr"] for group in optimizer.param_groups]


def train(
    optimizer: Optimizer, model: nn.Module, after_step: Callable[[int], Any], steps: int = STEPS
) -> list[tuple[int, str]]:
    """Take steps, and return the warnings about ratios, each with the number of its step."""
    found = []
    for step in range(steps):
        for tensor in model.parameters():
            tensor.grad = torch.zeros_like(tensor)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            optimizer.step()
            after_step(step)
        found += [(step, str(w.message)) for w in caught if "ratios of the plan" in str(w.message)]
    return found


def warnings_of(make: Callable[[Optimizer], Any], steps: int = STEPS, config: Any = CONFIG) -> list[tuple[int, str]]:
    model = Net()
    optimizer = build_optimizer(config, model)
    scheduler = make(optimizer)
    if isinstance(scheduler, sched.ReduceLROnPlateau) or type(scheduler).__name__ == "GreedyLR":
        return train(optimizer, model, lambda _: scheduler.step(1.0), steps)
    if isinstance(scheduler, mm.ReduceOnPlateauLR):
        return train(optimizer, model, lambda _: scheduler.step({"loss": 1.0}), steps)
    return train(optimizer, model, lambda _: scheduler.step(), steps)


def hf(name: str, **options: Any) -> Callable[[Optimizer], Any]:
    return lambda o: get_scheduler(name, o, WARM, STEPS, options)


KEEPS: dict[str, Callable[[Optimizer], Any]] = {
    "torch LambdaLR": lambda o: sched.LambdaLR(o, lambda step: 0.99**step),
    "torch MultiplicativeLR": lambda o: sched.MultiplicativeLR(o, lambda step: 0.99),
    "torch StepLR": lambda o: sched.StepLR(o, 10, 0.5),
    "torch MultiStepLR": lambda o: sched.MultiStepLR(o, [10, 20]),
    "torch ConstantLR": lambda o: sched.ConstantLR(o, total_iters=WARM),
    "torch LinearLR": lambda o: sched.LinearLR(o, total_iters=WARM),
    "torch ExponentialLR": lambda o: sched.ExponentialLR(o, 0.9),
    "torch PolynomialLR": lambda o: sched.PolynomialLR(o, STEPS, 2.0),
    "torch CosineAnnealingLR": lambda o: sched.CosineAnnealingLR(o, STEPS),
    "torch CosineAnnealingWarmRestarts": lambda o: sched.CosineAnnealingWarmRestarts(o, 30),
    "torch OneCycleLR, list": lambda o: sched.OneCycleLR(o, lrs(o), total_steps=STEPS + 1),
    "torch CyclicLR, lists": lambda o: sched.CyclicLR(o, lrs(o, 0.1), lrs(o), 10, cycle_momentum=False),
    "torch ReduceLROnPlateau": lambda o: sched.ReduceLROnPlateau(o, patience=2),
    "torch ReduceLROnPlateau, list": lambda o: sched.ReduceLROnPlateau(o, patience=2, min_lr=lrs(o, 0.1)),
    "torch SWALR, list": lambda o: SWALR(o, lrs(o, 0.1), anneal_epochs=WARM),
    "torch SequentialLR": lambda o: sched.SequentialLR(
        o, [sched.LinearLR(o, 0.01, total_iters=WARM), sched.CosineAnnealingLR(o, STEPS - WARM)], [WARM]
    ),
    "torch ChainedScheduler": lambda o: sched.ChainedScheduler(
        [sched.LinearLR(o, 0.01, total_iters=WARM), sched.ExponentialLR(o, 0.99)]
    ),
    "HF linear": hf("linear"),
    "HF cosine": hf("cosine"),
    "HF cosine_with_restarts": hf("cosine_with_restarts", num_cycles=2),
    "HF polynomial": hf("polynomial", lr_end=1e-4),
    "HF constant": hf("constant"),
    "HF constant_with_warmup": hf("constant_with_warmup"),
    "HF inverse_sqrt": hf("inverse_sqrt"),
    "HF reduce_lr_on_plateau": hf("reduce_lr_on_plateau", patience=2),
    "HF cosine_with_min_lr": hf("cosine_with_min_lr", min_lr=1e-4),
    "HF cosine_warmup_with_min_lr": hf("cosine_warmup_with_min_lr", min_lr=1e-4, warmup_lr_rate=0.1),
    "HF warmup_stable_decay": hf("warmup_stable_decay", num_decay_steps=40, min_lr_ratio=0.1),
    "HF greedy, lists": lambda o: get_scheduler(
        "greedy", o, scheduler_specific_kwargs={"min_lr": lrs(o, 0.1), "max_lr": lrs(o, 10.0), "patience": 2}
    ),
    "MMEngine ConstantLR": lambda o: mm.ConstantLR(o, end=WARM),
    "MMEngine LinearLR": lambda o: mm.LinearLR(o, 0.001, end=WARM),
    "MMEngine ExponentialLR": lambda o: mm.ExponentialLR(o, 0.9),
    "MMEngine StepLR": lambda o: mm.StepLR(o, 10),
    "MMEngine MultiStepLR": lambda o: mm.MultiStepLR(o, [10, 20]),
    "MMEngine PolyLR": lambda o: mm.PolyLR(o, power=0.9, end=STEPS),
    "MMEngine CosineAnnealingLR": lambda o: mm.CosineAnnealingLR(o, T_max=STEPS),
    "MMEngine CosineAnnealingLR, ratio": lambda o: mm.CosineAnnealingLR(o, T_max=STEPS, eta_min_ratio=0.1),
    "MMEngine CosineRestartLR, ratio": lambda o: mm.CosineRestartLR(o, [30] * 4, [1] * 4, eta_min_ratio=0.1),
    "MMEngine OneCycleLR, list": lambda o: mm.OneCycleLR(o, lrs(o), total_steps=STEPS + 1),
    "MMEngine ReduceOnPlateauLR": lambda o: mm.ReduceOnPlateauLR(o, patience=2),
}

BREAKS: dict[str, Callable[[Optimizer], Any]] = {
    "torch OneCycleLR": lambda o: sched.OneCycleLR(o, 1e-3, total_steps=STEPS + 1),
    "torch CyclicLR": lambda o: sched.CyclicLR(o, 1e-6, 1e-3, cycle_momentum=False),
    "torch CosineAnnealingLR, eta_min": lambda o: sched.CosineAnnealingLR(o, STEPS, eta_min=1e-4),
    "torch CosineAnnealingLR, small eta_min": lambda o: sched.CosineAnnealingLR(o, STEPS, eta_min=1e-6),
    "torch CosineAnnealingWarmRestarts, eta_min": lambda o: sched.CosineAnnealingWarmRestarts(o, 30, eta_min=1e-5),
    "torch ReduceLROnPlateau, min_lr": lambda o: sched.ReduceLROnPlateau(o, patience=2, min_lr=1e-4),
    "torch SWALR": lambda o: SWALR(o, 1e-4, anneal_epochs=WARM),
    "torch LambdaLR, one per group": lambda o: sched.LambdaLR(
        o, [lambda step, place=place: (0.99 - place / 100) ** step for place in range(len(o.param_groups))]
    ),
    "torch SequentialLR": lambda o: sched.SequentialLR(
        o, [sched.LinearLR(o, 0.01, total_iters=WARM), sched.CosineAnnealingLR(o, STEPS - WARM, 1e-4)], [WARM]
    ),
    "HF reduce_lr_on_plateau, min_lr": hf("reduce_lr_on_plateau", patience=2, min_lr=1e-4),
    "HF greedy": hf("greedy", patience=2, min_lr=1e-4),
    "MMEngine OneCycleLR": lambda o: mm.OneCycleLR(o, 1e-3, total_steps=STEPS + 1),
    "MMEngine CosineAnnealingLR, eta_min": lambda o: mm.CosineAnnealingLR(o, T_max=STEPS, eta_min=1e-4),
    "MMEngine CosineRestartLR, eta_min": lambda o: mm.CosineRestartLR(o, [30] * 4, [1] * 4, eta_min=1e-4),
    "MMEngine PolyLR, eta_min": lambda o: mm.PolyLR(o, eta_min=1e-4, end=STEPS),
    "MMEngine ReduceOnPlateauLR, min_value": lambda o: mm.ReduceOnPlateauLR(o, patience=2, min_value=1e-4),
}


@pytest.mark.parametrize("name", KEEPS)
def test_the_watch_is_silent_under_a_scheduler_that_keeps_ratios(name):
    assert warnings_of(KEEPS[name]) == []


@pytest.mark.parametrize("name", BREAKS)
def test_the_watch_warns_once_of_a_scheduler_that_breaks_ratios(name):
    (step, text), *more = warnings_of(BREAKS[name])
    assert not more
    assert step < STEPS / 2
    assert "max_lr=[group['lr'] for group in optimizer.param_groups]" in text
    assert "`watch: false`" in text


@pytest.mark.parametrize("name", BREAKS)
def test_the_watch_is_switched_off_by_one_key(name):
    assert warnings_of(BREAKS[name], config={**CONFIG, "watch": False}) == []


def test_the_warning_names_the_groups_and_what_they_should_have():
    ((_, text),) = warnings_of(BREAKS["torch OneCycleLR"], 1)
    assert (
        "Where group 8 (norm.weight, norm.bias and 1 more) has 4e-05, group 0 (pos_embed, stem.0.bias and 2 more)"
        in text
    )
    assert "has 4e-05 instead of 2.5e-06; group 1 (stem.0.weight) has" in text
    assert "and so on for 5 more groups" in text


def test_the_warning_points_at_the_line_that_takes_the_step():
    for make in (lambda optimizer: None, BREAKS["torch OneCycleLR"]):
        model = Net()
        optimizer = build_optimizer(CONFIG, model)
        make(optimizer)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        with pytest.warns(OptimBuildWarning, match="ratios of the plan") as caught:
            optimizer.step()
        assert caught[0].filename == __file__
        assert linecache.getline(__file__, caught[0].lineno).strip() == "optimizer.step()"


# --- loops by hand -------------------------------------------------------------------------------


def mae(optimizer: Optimizer, step: int, lr: float = 1e-3, warm: int = WARM) -> None:
    """Set LRs as the published code of MAE and BEiT does, which looks for ``lr_scale``."""
    way = (step - warm) / (STEPS - warm)
    lr = lr * step / warm if step < warm else lr * 0.5 * (1.0 + math.cos(math.pi * way))
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"] if "lr_scale" in group else lr


@pytest.mark.parametrize("warm", [0, WARM])
@pytest.mark.parametrize("lr", [1e-3, 1e-5])
def test_the_loop_of_mae_is_caught_at_once(lr, warm):
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    ((step, _),) = train(optimizer, model, lambda step: mae(optimizer, step, lr, warm))
    assert step <= 3


def test_one_lr_for_all_groups_is_caught_at_the_second_step():
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-5
    assert [step for step, _ in train(optimizer, model, lambda _: None)] in ([0], [1])


def test_a_group_changed_by_hand_is_told_once():
    model = Net()
    optimizer = build_optimizer(CONFIG, model)

    def change(step: int) -> None:
        optimizer.param_groups[2]["lr"] *= 0.5 if step % 10 == 5 else 1.0

    ((_, text),) = train(optimizer, model, change)
    assert "group 2 (" in text
    assert "group 1 (" not in text


def warming_up(start: float, per: int, scheduled: bool = True) -> Callable[[Optimizer], Any]:
    """Warm up as timm does: from one LR for all groups to the LR of each, at every step or once in several."""

    def make(optimizer: Optimizer) -> Any:
        base, steps = lrs(optimizer), iter(range(1, 10_000))
        for group in optimizer.param_groups if scheduled else ():
            group["initial_lr"] = group["lr"]

        class Scheduler:
            def step(self, step: int | None = None) -> None:
                way = min(1.0, (next(steps) if step is None else step) // per * per / 60)
                for group, lr in zip(optimizer.param_groups, base, strict=True):
                    group["lr"] = start + (lr - start) * way

        Scheduler().step(0)
        return Scheduler()

    return make


@pytest.mark.parametrize("start", [0.0, 1e-6, 1e-5, 4e-4])
@pytest.mark.parametrize("per", [1, 10, 30])
def test_the_watch_is_silent_in_a_warm_up_from_one_lr(start, per):
    assert warnings_of(warming_up(start, per)) == []


def test_the_watch_is_silent_in_a_warm_up_by_hand():
    assert warnings_of(warming_up(1e-7, 1, scheduled=False)) == []


def test_a_warm_up_that_never_goes_on_is_no_matter_and_falling_is():
    def make(optimizer: Optimizer) -> Any:
        scheduler = warming_up(1e-6, 1)(optimizer)
        inner = scheduler.step
        scheduler.step = lambda: inner() if optimizer.param_groups[-1]["lr"] < 5e-4 else mae(optimizer, 100)
        return scheduler

    assert len(warnings_of(make)) == 1


@settings(max_examples=examples(80), deadline=None)
@given(
    planned=st.lists(st.sampled_from([1.0, 0.5, 0.25, 1e-2]), min_size=2, max_size=5, unique=True),
    factors=st.lists(st.sampled_from([0.0, 1e-9, 1e-3, 0.5, 1.0, 8.0]), min_size=1, max_size=30),
    broken=st.one_of(st.none(), st.tuples(st.integers(0, 29), st.sampled_from([0.5, 1.1, 3.0]))),
)
def test_one_factor_for_all_groups_is_silent_and_another_for_one_is_not(planned, factors, broken):
    table = {str(place): {"lr_mult": lr} for place, lr in enumerate(planned)}
    model = nn.ParameterList([torch.zeros(1) for _ in planned])
    config = {"optimizer": {"type": "sgd", "lr": 0.1}, "rules": [{"type": "match", "table": table}]}
    optimizer = build_optimizer(config, model)
    base = lrs(optimizer)

    def change(step: int) -> None:
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = factors[step % len(factors)] * lr
        if broken is not None and step >= broken[0]:
            optimizer.param_groups[0]["lr"] *= broken[1]

    found = train(optimizer, model, change, 40)
    matters = broken is not None and any(factors[step % len(factors)] >= 0.5 for step in range(broken[0], 30))
    if broken is None:
        assert not found
    elif matters:
        assert len(found) == 1


# --- what the watch must not disturb ---------------------------------------------------------------


def test_the_watch_is_silent_at_lr_zero_and_where_one_group_rests():
    model = Net()
    optimizer = build_optimizer(CONFIG, model)

    def change(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.0
        if step > 50:
            for group in optimizer.param_groups:
                group["lr"] = 0.0

    assert train(optimizer, model, change) == []


def test_a_group_that_was_added_later_is_not_watched():
    model, extra = Net(), nn.Linear(2, 2)
    optimizer = build_optimizer(CONFIG, model)
    optimizer.add_param_group({"params": list(extra.parameters()), "param_names": ["x", "y"], "lr": 5.0})
    assert train(optimizer, model, lambda _: None) == []


def test_schedules_of_weight_decay_are_not_watched():
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    assert train(optimizer, model, lambda step: optimizer.param_groups[1].update(weight_decay=step * 0.01)) == []


@pytest.mark.parametrize("kind", ["state_dict", "by name, checkpoint", "by name, config"])
def test_a_run_that_resumes_in_the_middle_of_a_schedule_is_silent(kind):
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    scheduler = sched.CosineAnnealingLR(optimizer, STEPS)
    assert train(optimizer, model, lambda _: scheduler.step(), 60) == []
    state = optimizer.state_dict() if kind == "state_dict" else optimizer_state(optimizer)
    second = build_optimizer(CONFIG, model)
    later = sched.CosineAnnealingLR(second, STEPS)
    if kind == "state_dict":
        second.load_state_dict(copy.deepcopy(state))
    else:
        load_optimizer_state(second, state, options="checkpoint" if "checkpoint" in kind else "config")
    later.load_state_dict(scheduler.state_dict())
    assert train(second, model, lambda _: later.step(), 59) == []


def test_options_of_a_save_that_count_are_not_told_twice():
    model = Net()
    saved = build_optimizer({**CONFIG, "rules": [{"type": "layer_decay", "ratio": 0.75}]}, model)
    train(saved, model, lambda _: None, 1)
    optimizer = build_optimizer(CONFIG, model)
    with pytest.warns(OptimBuildWarning, match="the options of the save count"):
        optimizer.load_state_dict(saved.state_dict())
    assert train(optimizer, model, lambda _: None) == []
    assert [step for step, _ in train(optimizer, model, lambda step: mae(optimizer, step), 40)] != []


@pytest.mark.parametrize("still", ["head", "pos_embed"])
def test_options_of_a_save_count_also_where_a_group_has_lr_zero(still):
    def config(ratio: float) -> dict[str, Any]:
        rest = {"type": "match", "table": {still: {"lr_mult": 0.0}}}
        return {**CONFIG, "rules": [{"type": "layer_decay", "ratio": ratio}, rest]}

    model = Net()
    saved, optimizer = build_optimizer(config(0.75), model), build_optimizer(config(0.5), model)
    train(saved, model, lambda _: None, 1)
    with pytest.warns(OptimBuildWarning, match="the options of the save count"):
        optimizer.load_state_dict(saved.state_dict())
    scheduler = sched.CosineAnnealingLR(optimizer, STEPS)
    assert train(optimizer, model, lambda _: scheduler.step(), 60) == []


def test_tensor_lrs_on_the_cpu_are_read_and_stay_tensors():
    model = Net()
    optimizer = build_optimizer({**CONFIG, "implementation": "for-loop"}, model)
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])
    assert train(optimizer, model, lambda _: None, 3) == []

    def change(_: int) -> None:
        for group in optimizer.param_groups:
            group["lr"].fill_(1e-3)

    assert len(train(optimizer, model, change)) == 1


def test_tensor_lrs_elsewhere_are_never_read():
    model = Net().to("meta")
    optimizer = build_optimizer({**CONFIG, "implementation": "foreach"}, model)
    for group in optimizer.param_groups:
        group["lr"] = torch.zeros((), device="meta")
    (hook,) = [hook for hook in optimizer._optimizer_step_pre_hooks.values() if "Watch" in repr(hook)]
    hook(optimizer, (), {})


def test_a_scaled_step_is_watched_when_it_is_taken():
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    scaler = torch.amp.GradScaler("cpu")
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    scaler.scale(model(torch.ones(4, 8)).sum()).backward()
    with pytest.warns(OptimBuildWarning, match="ratios of the plan"):
        scaler.step(optimizer)


@pytest.mark.slow
def test_a_compiled_step_is_compiled_once_and_not_watched():
    model = Net()
    optimizer = build_optimizer({**CONFIG, "implementation": "foreach"}, model)
    for tensor in model.parameters():
        tensor.grad = torch.zeros_like(tensor)
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(optimizer.step, backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)
        compiled()
        first = len(graphs)
        for _ in range(20):
            compiled()
    assert first > 0
    assert len(graphs) <= 2 * first  # torch compiles twice: the state is new at the first step


SEVERAL = {
    **CONFIG,
    "optimizers": {"slow": {"type": "sgd", "lr": 1e-4}},
    "rules": [*CONFIG["rules"], {"type": "match", "table": {"stem": {"optimizer": "slow"}}}],
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("config", [CONFIG, SEVERAL], ids=["one", "several"])
def test_a_copy_of_an_optimizer_is_watched_like_it(copied, config):
    model = Net()
    optimizer = build_optimizer(config, model)
    train(optimizer, model, lambda _: None, 2)
    other_model, other = copied((model, optimizer))
    scheduler = sched.CosineAnnealingLR(other, STEPS)
    assert train(other, other_model, lambda _: scheduler.step(), 5) == []
    for group in other.param_groups:
        group["lr"] = 1e-3
    ((step, _),) = train(other, other_model, lambda _: None, 5)
    assert step <= 3
    assert train(optimizer, model, lambda _: None, 3) == []
    assert train(copied(other), other_model, lambda _: None, 3) == []  # it was told already


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_that_loads_options_of_a_save_is_silent(copied):
    model = Net()
    saved = build_optimizer({**CONFIG, "rules": [{"type": "layer_decay", "ratio": 0.75}]}, model)
    other = copied(build_optimizer(CONFIG, model))
    with pytest.warns(OptimBuildWarning, match="the options of the save count"):
        other.load_state_dict(saved.state_dict())
    assert train(other, model, lambda _: None, 5) == []


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_an_unwatched_optimizer_is_unwatched(copied):
    model, other = copied((model := Net(), build_optimizer({**CONFIG, "watch": False}, model)))
    assert train(other, model, lambda _: mae(other, 30), 5) == []


def test_a_watch_looks_ever_more_rarely():
    from optimbuild.build.watch import Watch

    looks: list[int] = []

    class Counting:
        def difference(self, groups: Any) -> str:
            looks.append(watch._steps)
            return ""

    class NoNorms:
        def lost(self) -> str:
            return ""

    watch, optimizer = Watch(Counting(), NoNorms()), build_optimizer(CONFIG, Net())  # type: ignore[arg-type]
    for _ in range(50_000):
        watch.before_step(optimizer)
    assert looks[:33] == [*range(1, 33), 34]
    assert sum(look <= 1000 for look in looks) == 92
    assert len(looks) < 250
    assert max(new - old for old, new in itertools.pairwise(looks)) <= 1000


def under_zero() -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    torch.manual_seed(0)
    model, other = Net(), Net()
    optimizer = build_optimizer({**CONFIG, "zero": True}, model)
    scheduler = sched.CosineAnnealingLR(optimizer, STEPS)
    silent = train(optimizer, model, lambda _: scheduler.step(), 20)
    optimizer = build_optimizer({**CONFIG, "zero": True}, other)
    scheduler = sched.OneCycleLR(optimizer, 1e-3, total_steps=STEPS)
    return silent, train(optimizer, other, lambda _: scheduler.step(), 20)


def test_a_sharded_optimizer_is_watched_on_each_rank():
    for silent, told in distributed.run(2, under_zero):
        assert (silent, len(told)) == ([], 1)


# --- the page about schedulers ---------------------------------------------------------------------


def row_names(library: str) -> set[str]:
    """Return the schedulers in the first column of a table on the page."""
    page = Path("docs/schedulers.md").read_text("utf-8")
    section = page.split(f"### {library}\n")[1].split("###")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def tried(library: str) -> set[str]:
    return {re.split(r"[ ,]", name)[1] for name in (*KEEPS, *BREAKS) if name.startswith(library)}


def test_the_page_has_a_tried_row_for_every_scheduler_of_torch():
    every = {name for name, cls in vars(sched).items() if isinstance(cls, type) and issubclass(cls, sched.LRScheduler)}
    assert row_names("PyTorch") == tried("torch") == every - {"LRScheduler", "_LRScheduler"} | {"SWALR"}


def test_the_page_has_a_tried_row_for_every_scheduler_of_hugging_face():
    assert row_names("Hugging Face") == tried("HF") == {kind.value for kind in SchedulerType}


def test_the_page_has_a_tried_row_for_every_scheduler_of_mmengine():
    every = {name for name in mm.__all__ if name.endswith("LR")}
    assert row_names("MMEngine") == tried("MMEngine") == every


# --- timm, where it is installed -------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 1e-5])
@pytest.mark.parametrize("name", ["CosineLRScheduler", "TanhLRScheduler", "PolyLRScheduler", "StepLRScheduler"])
@pytest.mark.parametrize("lowest", [0.0, 1e-4])
def test_schedulers_of_timm_keep_ratios_unless_they_end_at_one_lr(name, start, lowest):
    timm = pytest.importorskip("timm.scheduler")
    options = {"decay_t": 30} if name == "StepLRScheduler" else {"t_initial": STEPS, "lr_min": lowest}
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    scheduler = getattr(timm, name)(optimizer, **options, warmup_t=WARM, warmup_lr_init=start, t_in_epochs=True)
    found = train(optimizer, model, lambda step: scheduler.step(step + 1))
    assert bool(found) == bool(lowest and name != "StepLRScheduler")
