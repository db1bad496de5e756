"""Several optimizers as one: equal to each of them by hand, under whatever happens to an optimizer."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.optim.optimizer import register_optimizer_step_post_hook

from optimbuild import CheckpointError, ConfigError, build_optimizer, checkpoint, make_plan
from optimbuild import optimizer as register
from optimbuild.build.composite import CompositeOptimizer
from optimbuild.build.zero.deepspeed import deepspeed_config
from tests.distributed import needs_fsdp2_on_cpu, run
from tests.models import Block

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon since 2.9")
NO_DECAY, LAYERS = {"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}
ADAMW = {"type": "adamw", "lr": 1e-2, "weight_decay": 0.05}
OTHERS: dict[str, dict[str, Any]] = {
    "muon": {"type": "muon", "lr": 2e-2, "weight_decay": 0.1},
    "sgd": {"type": "sgd", "lr": 1e-1, "weight_decay": 0.01},
}
EVERY = [pytest.param("muon", marks=needs_muon), "sgd"]


class Tokens(nn.Module):
    """Embedding, blocks and head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.layers = nn.ModuleList([Block() for _ in range(2)])
        self.head = nn.Linear(8, 16)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def config(other: str = "sgd", *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    route = {"type": "route", "to": other, "kinds": ["matrix"], "except": ["output", "embedding"]}
    return {"optimizer": ADAMW, "optimizers": {other: OTHERS[other]}, "rules": [route, NO_DECAY, *rules], **more}


def tokens_model(seed: int = 0) -> Tokens:
    torch.manual_seed(seed)
    return Tokens()


def loss_of(model: nn.Module) -> torch.Tensor:
    tokens = torch.arange(12).reshape(3, 4)
    return nn.functional.cross_entropy(model(tokens).flatten(0, 1), (tokens.flatten() * 7 + 3) % 16)


def train(model: nn.Module, *optimizers: Any, steps: int = 5) -> nn.Module:
    for _ in range(steps):
        model.zero_grad()
        loss_of(model).backward()
        for optimizer in optimizers:
            optimizer.step()
    return model


def built(other: str = "sgd", *rules: dict[str, Any], **more: Any) -> tuple[nn.Module, Any]:
    model = tokens_model()
    return model, build_optimizer(config(other, *rules, **more), model)


def equal(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def is_one(optimizer: Any) -> bool:
    """Say whether groups and state of a composite are those of its members."""
    groups = [id(group) for member in optimizer.members.values() for group in member.param_groups]
    shared = sorted(groups) == sorted(map(id, optimizer.param_groups))
    return shared and all(member.state is optimizer.state for member in optimizer.members.values())


def by_hand(model: nn.Module, plan: Any) -> list[torch.optim.Optimizer]:
    classes: dict[str, Any] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "SparseAdam": torch.optim.SparseAdam}
    classes["muon"] = getattr(torch.optim, "Muon", None)
    params, groups = dict(model.named_parameters()), dict[str, list[dict[str, Any]]]()
    for group in plan.groups:
        switch = {"fused": True} if group.implementation == "fused" else {}
        made = {"params": [params[name] for name in group.params], **group.options, **switch}
        groups.setdefault(group.optimizer, []).append(made)
    return [classes[name](own) for name, own in groups.items()]


# --- the same steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("other", EVERY)
@pytest.mark.parametrize("rules", [(), (LAYERS,)])
def test_twenty_steps_equal_those_of_two_optimizers_by_hand(other, rules):
    model, optimizer = built(other, *rules)
    assert isinstance(optimizer, CompositeOptimizer)
    assert is_one(optimizer)
    expected = tokens_model()
    assert equal(train(model, optimizer, steps=20), train(expected, *by_hand(expected, optimizer.plan), steps=20))


def test_a_sparse_embedding_is_stepped_by_an_optimizer_of_its_own():
    def model() -> nn.Module:
        made = tokens_model()
        made.embed.sparse = True
        return made

    sparse = {"type": "SparseAdam", "lr": 1e-2}
    rules = [{"type": "route", "to": "sparse", "kinds": ["embedding"]}, {"type": "no_decay", "keywords": ["embed"]}]
    ours, expected = model(), model()
    optimizer = build_optimizer({"optimizer": ADAMW, "optimizers": {"sparse": sparse}, "rules": rules}, ours)
    assert equal(train(ours, optimizer, steps=20), train(expected, *by_hand(expected, optimizer.plan), steps=20))


def test_two_names_of_one_type_are_one_member_with_their_own_options():
    optimizers = {"slow": {**OTHERS["sgd"], "lr": 1e-3}, "fast": OTHERS["sgd"]}
    rules = [
        {"type": "route", "to": "slow", "patterns": ["layers.0"]},
        {"type": "match", "table": {"layers.1": {"optimizer": "fast", "lr_mult": 2.0}}},
    ]
    optimizer = build_optimizer({"optimizer": ADAMW, "optimizers": optimizers, "rules": rules}, tokens_model())
    assert list(optimizer.members) == ["adamw", "sgd"]
    assert [optimizer.plan[f"layers.{i}.attn.weight"].lr for i in (0, 1)] == [1e-3, 2e-1]


# --- torch's own machinery --------------------------------------------------------------------


def reloaded(save: Callable[[Any, nn.Module], Any], load: Callable[[Any, nn.Module, Any], None]) -> nn.Module:
    model, optimizer = built("sgd", LAYERS)
    train(model, optimizer)
    again = tokens_model(seed=1)
    again.load_state_dict(model.state_dict())
    other = build_optimizer(config("sgd", LAYERS), again)
    load(other, again, copy.deepcopy(save(optimizer, model)))
    assert is_one(other)
    assert len(other.state) == len(list(again.parameters()))
    return train(again, other)


def uninterrupted() -> nn.Module:
    model, optimizer = built("sgd", LAYERS)
    return train(model, optimizer, steps=10)


WAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "load_state_dict": (lambda o, _: o.state_dict(), lambda o, _, state: o.load_state_dict(state)),
    "by name": (lambda o, _: checkpoint.optimizer_state(o), lambda o, _, s: checkpoint.load_optimizer_state(o, s)),
    "DCP": (
        lambda o, model: get_optimizer_state_dict(model, o),
        lambda o, model, state: set_optimizer_state_dict(model, o, state),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_equals_an_uninterrupted_one(way):
    assert equal(reloaded(*WAYS[way]), uninterrupted())


def test_a_saved_directory_resumes_the_run(tmp_path: Path):
    resumed = reloaded(
        lambda optimizer, _: checkpoint.save(optimizer, tmp_path / "state"),
        lambda optimizer, *_: checkpoint.load(optimizer, tmp_path / "state"),
    )
    assert equal(resumed, uninterrupted())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_and_pickles_go_on_as_the_original_does(copied):
    model, optimizer = built("sgd", LAYERS)
    train(model, optimizer)
    other, its_own = copied((model, optimizer))
    assert is_one(its_own)
    assert its_own.plan.fingerprint == optimizer.plan.fingerprint
    assert equal(train(other, its_own), train(model, optimizer))


def test_hooks_run_once_a_step():
    model, optimizer = built()
    calls: list[str] = []
    handle = register_optimizer_step_post_hook(lambda *_: calls.append("every optimizer's"))
    try:
        optimizer.register_step_post_hook(lambda *_: calls.append("its own"))
        train(model, optimizer, steps=2)
    finally:
        handle.remove()
    assert calls == ["its own", "every optimizer's"] * 2


def test_a_closure_runs_once_and_gives_the_loss():
    model, optimizer = built()
    calls: list[float] = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        calls.append(loss.item())
        return loss

    assert optimizer.step(closure).item() == calls[0]
    assert len(calls) == 1


def test_an_optimizer_that_calls_the_closure_itself_is_refused():
    rules = [{"type": "route", "to": "LBFGS", "patterns": ["head"]}]
    with pytest.raises(ConfigError, match="LBFGS calls the closure itself"):
        build_optimizer({"optimizer": ADAMW, "rules": rules}, tokens_model())


def test_defaults_are_those_that_all_members_have():
    _, optimizer = built()
    assert {"lr", "weight_decay", "maximize"} <= optimizer.defaults.keys()
    assert not {"betas", "momentum"} & optimizer.defaults.keys()
    with pytest.raises(ValueError, match="cycle_momentum"):
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=4)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, [group["lr"] for group in o.param_groups], total_steps=9, cycle_momentum=False
        ),
    ],
)
def test_schedulers_keep_the_ratios_of_every_member(schedule):
    model, optimizer = built("sgd", LAYERS)
    planned = [group["lr"] for group in optimizer.param_groups]
    scheduler = schedule(optimizer)
    for _ in range(4):
        train(model, optimizer, steps=1)
        scheduler.step()
    ratios = {round(group["lr"] / lr, 9) for group, lr in zip(optimizer.param_groups, planned, strict=True)}
    assert len(ratios) == 1
    assert [group["lr"] for member in optimizer.members.values() for group in member.param_groups] != planned


def test_a_scheduler_of_timm_keeps_the_ratios_of_every_member():
    scheduler = pytest.importorskip("timm.scheduler")
    model, optimizer = built("sgd", LAYERS)
    planned = [group["lr"] for group in optimizer.param_groups]
    schedule = scheduler.CosineLRScheduler(optimizer, t_initial=8, warmup_t=2, warmup_lr_init=0.0)
    for epoch in range(1, 5):
        train(model, optimizer, steps=1)
        schedule.step(epoch)
    ratios = {round(group["lr"] / lr, 9) for group, lr in zip(optimizer.param_groups, planned, strict=True)}
    assert len(ratios) == 1


@pytest.mark.parametrize("factor", [1.0, float("inf")])
def test_a_grad_scaler_skips_all_members_or_none(factor):
    model, optimizer = built()
    before = copy.deepcopy(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(loss_of(model) * factor).backward()
    scaler.step(optimizer)
    scaler.update()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before.get_parameter(name))]
    assert len(moved) == (0 if factor == float("inf") else len(list(model.parameters())))


def test_a_compiled_step_moves_as_an_eager_one_does():
    (model, optimizer), (expected, eager) = built(), built()
    train(model, optimizer, steps=1)
    train(expected, eager, steps=2)
    model.zero_grad()
    loss_of(model).backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.compile(optimizer.step, backend="eager")()
    assert equal(model, expected)


class Moody(torch.optim.SGD):
    """Notes whether it was told to train or to evaluate, as schedule-free optimizers are."""

    mood = ""

    def train(self) -> None:
        self.mood = "train"

    def eval(self) -> None:
        self.mood = "eval"


def test_train_and_eval_reach_the_members_that_have_them_with_their_groups():
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    groups = [{"params": [p], "optimizer": name} for p, name in zip(parameters, ("moody", "adam"), strict=True)]
    optimizer = CompositeOptimizer(groups, {"moody": Moody, "adam": torch.optim.Adam})
    for tell, mood in ((optimizer.eval, "eval"), (optimizer.train, "train")):
        optimizer.param_groups = [dict(group) for group in optimizer.param_groups]
        optimizer.state = defaultdict(dict)
        tell()
        assert optimizer.members["moody"].mood == mood  # type: ignore[attr-defined]
        assert is_one(optimizer)


# --- groups that are added --------------------------------------------------------------------


def test_an_unfrozen_parameter_is_stepped_by_the_member_of_its_plan():
    model, optimizer = built("sgd", {"type": "freeze", "patterns": ["layers.0"]})
    train(model, optimizer, steps=1)
    unfrozen = list(model.layers[0].requires_grad_(True).parameters())
    before = [tensor.clone() for tensor in unfrozen]
    optimizer.add_param_group({"params": unfrozen})
    assert is_one(optimizer)
    members = {name: group["optimizer"] for group in optimizer.param_groups for name in group["param_names"]}
    assert (members["layers.0.attn.weight"], members["layers.0.attn.bias"]) == ("sgd", "adamw")
    train(model, optimizer, steps=1)
    assert not any(torch.equal(old, new) for old, new in zip(before, unfrozen, strict=True))


def test_a_group_that_no_plan_knows_must_name_its_member():
    _, optimizer = built()
    new = ("extra", nn.Parameter(torch.zeros(2)))
    with pytest.raises(CheckpointError, match=r"must say which optimizer steps it.*'adamw'.*'sgd'"):
        optimizer.add_param_group({"params": [new]})
    assert is_one(optimizer)
    optimizer.add_param_group({"params": [new], "optimizer": "sgd", "lr": 0.5})
    assert is_one(optimizer)
    assert optimizer.param_groups[-1]["momentum"] == 0.9


def test_a_group_that_a_member_refuses_leaves_everything_as_it_was():
    model, optimizer = built()
    before = [dict(group) for group in optimizer.param_groups]
    for wrong in (
        {"params": [model.head.weight], "optimizer": "sgd"},
        {"params": [("x", nn.Parameter(torch.zeros(2)) * 2)], "optimizer": "sgd"},
    ):
        with pytest.raises((ValueError, CheckpointError)):
            optimizer.add_param_group(wrong)
    assert [dict(group) for group in optimizer.param_groups] == before
    assert is_one(optimizer)


def test_groups_and_state_that_somebody_replaces_count():
    model, optimizer = built()
    train(model, optimizer, steps=2)
    before = copy.deepcopy(model)
    optimizer.param_groups = [{**group, "lr": 0.0, "weight_decay": 0.0} for group in optimizer.param_groups]
    optimizer.state = defaultdict(dict)
    train(model, optimizer, steps=1)
    assert equal(model, before)
    assert len(optimizer.state_dict()["state"]) == len(list(model.parameters()))
    kept = [group for group in optimizer.param_groups if group["optimizer"] == "adamw"]
    optimizer.param_groups[:] = [{**group, "lr": 0.1} for group in kept]
    train(model, optimizer, steps=1)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert moved == {name for group in kept for name in group["param_names"]}
    optimizer.add_param_group({"params": [("new", nn.Parameter(torch.ones(2)))], "optimizer": "adamw"})
    assert optimizer.param_groups[-1]["lr"] == 1e-2


def test_a_stage_without_a_member_refuses_what_its_plan_gives_to_it():
    plan = make_plan(config("sgd", {"type": "freeze", "patterns": ["layers.1"]}), tokens_model())
    model = tokens_model()
    stage = nn.ModuleDict({"embed": model.embed, "layers": nn.ModuleDict({"1": model.layers[1]})})
    optimizer = build_optimizer(plan, stage)
    assert not isinstance(optimizer, CompositeOptimizer)
    model.layers[1].requires_grad_(True)
    with pytest.raises(CheckpointError, match=r"trained by sgd, and this optimizer was built without it"):
        optimizer.add_param_group({"params": [model.layers[1].attn.weight]})
    optimizer.add_param_group({"params": [model.layers[1].attn.bias]})


@needs_muon
def test_a_vector_for_muon_is_refused_before_it_is_added():
    _, optimizer = built("muon")
    with pytest.raises(CheckpointError, match="muon takes tensors of 2 dimensions, and 'bias' has 1"):
        optimizer.add_param_group({"params": [("bias", nn.Parameter(torch.zeros(2)))], "optimizer": "muon"})


class Global(torch.optim.SGD):
    """Keeps an option for all of its groups."""

    def __init__(self, params: Any, lr: float = 0.1, power: float = 1.0) -> None:
        super().__init__(params, lr=lr)
        self.power = power

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "power": self.power}

    def step(self, closure: Any = None) -> Any:
        assert self.power
        return super().step(closure)


def test_two_names_cannot_differ_in_what_a_class_keeps_for_all_groups():
    register("test_global", Global, force=True)
    rules = [{"type": "route", "to": name, "patterns": [f"layers.{i}"]} for i, name in enumerate(("one", "two"))]
    options = {"type": "test_global", "lr": 0.1}
    for power in (1.0, 2.0):
        optimizers = {"one": options, "two": {**options, "lr": 0.2, "power": power}}
        several = {"optimizer": ADAMW, "optimizers": optimizers, "rules": rules}
        if power == 2.0:
            with pytest.raises(ConfigError, match=r"^optimizers.one: test_global keeps power for all of its groups"):
                build_optimizer(several, tokens_model())
            continue
        model = tokens_model()
        optimizer = build_optimizer(several, model)
        other, its_own = copy.deepcopy((model, optimizer))
        assert equal(train(other, its_own), train(model, optimizer))


# --- another optimizer since the save ---------------------------------------------------------


@pytest.mark.parametrize("other", EVERY)
def test_a_parameter_that_changed_its_optimizer_starts_afresh_by_choice(other):
    model, optimizer = built(other)
    train(model, optimizer)
    moved = config(other)
    moved["rules"][0]["except"].append("layers.0.attn")
    again = tokens_model()
    for state in (optimizer.state_dict(), checkpoint.optimizer_state(optimizer)):
        other_optimizer = build_optimizer(moved, again)
        with pytest.raises(
            CheckpointError, match=rf"stepped by {other} before, and by adamw now: layers.0.attn.weight"
        ):
            checkpoint.load_optimizer_state(other_optimizer, state)
        assert not other_optimizer.state
        report = checkpoint.load_optimizer_state(other_optimizer, state, missing="init")
        assert report.missing == ("layers.0.attn.weight",)
        moved_group = next(g for g in other_optimizer.param_groups if "layers.0.attn.weight" in g["param_names"])
        assert moved_group["lr"] == ADAMW["lr"]
        assert other_optimizer.state[again.layers[1].attn.weight]
        assert not other_optimizer.state.get(again.layers[0].attn.weight)
        train(again, other_optimizer, steps=1)


@needs_muon
def test_a_save_of_one_optimizer_does_not_become_the_state_of_another():
    alone = {"optimizer": {**OTHERS["sgd"], "momentum": 0.9}, "rules": [NO_DECAY]}
    model = tokens_model()
    optimizer = build_optimizer(alone, model)
    train(model, optimizer)
    _, several = built("muon")
    message = r"stepped by an optimizer with dampening before, and by muon, which has adjust_lr_fn, now: layers.0.attn"
    with pytest.raises(CheckpointError, match=message):
        several.load_state_dict(optimizer.state_dict())
    _, with_sgd = built("sgd")
    report = checkpoint.load_optimizer_state(with_sgd, optimizer.state_dict(), missing="init", unexpected="ignore")
    assert "layers.0.attn.weight" in report.loaded


# --- several ranks ----------------------------------------------------------------------------


def zero_run(directory: str) -> dict[str, Any]:
    model, optimizer = built("sgd", LAYERS, zero=True)
    train(model, optimizer)
    checkpoint.save(optimizer, directory)
    kept = len(optimizer.optim.state)
    train(model, optimizer)
    return {"kept": kept, "model": numbers(model)}


def plain_run() -> tuple[dict[str, Any], dict[str, Any]]:
    model, optimizer = built("sgd", LAYERS)
    return numbers(train(model, optimizer)), numbers(train(model, optimizer))


def numbers(model: nn.Module) -> dict[str, Any]:
    """Return the parameters as plain numbers, which processes can send."""
    return {name: tensor.tolist() for name, tensor in model.state_dict().items()}


def zero_resumed(directory: str, middle: dict[str, Any]) -> dict[str, Any]:
    model = tokens_model(seed=1)
    model.load_state_dict({name: torch.tensor(tensor) for name, tensor in middle.items()})
    optimizer = build_optimizer(config("sgd", LAYERS, zero=dist.get_world_size() > 1), model)
    checkpoint.load(optimizer, directory)
    return numbers(train(model, optimizer))


@pytest.mark.slow
def test_zero_shards_all_members_together_and_resumes_on_other_ranks(tmp_path: Path):
    ((middle, expected),) = run(1, plain_run)
    ranks = run(2, zero_run, str(tmp_path / "state"))
    assert sum(rank["kept"] for rank in ranks) == len(expected)
    assert min(rank["kept"] for rank in ranks) > 0
    assert [rank["model"] for rank in ranks] == [expected] * 2
    for world_size in (3, 1):
        assert run(world_size, zero_resumed, str(tmp_path / "state"), middle) == [expected] * world_size


def sharded_run(other: str) -> dict[str, Any]:
    from torch.distributed.fsdp import fully_shard

    models = [tokens_model(), tokens_model(seed=1)]
    for model in models:
        for layer in model.layers:
            fully_shard(layer)
        fully_shard(model)
    first, second = models
    optimizer = build_optimizer(config(other, LAYERS), first)
    train(first, optimizer)
    for ours, new in zip(first.parameters(), second.parameters(), strict=True):
        new.data.copy_(ours.data)
    resumed = build_optimizer(config(other, LAYERS), second)
    set_optimizer_state_dict(second, resumed, get_optimizer_state_dict(first, optimizer))
    train(second, resumed)
    return {name: tensor.full_tensor().tolist() for name, tensor in second.named_parameters()}


@needs_fsdp2_on_cpu
@pytest.mark.parametrize(
    "other", [pytest.param(name, marks=pytest.mark.slow) if name == "muon" else name for name in EVERY]
)
def test_under_fsdp2_each_member_steps_its_shards(other):
    model, optimizer = built(other, LAYERS)
    expected = numbers(train(model, optimizer, steps=10))
    for rank in run(2, sharded_run, other):
        assert rank.keys() == expected.keys()
        for name, found in rank.items():
            torch.testing.assert_close(
                torch.tensor(found), torch.tensor(expected[name]), rtol=1e-3, atol=5e-3
            )  # Muon orthogonalizes in bfloat16


def test_a_config_of_deepspeed_names_no_optimizer_of_several():
    assert "optimizer" not in deepspeed_config(make_plan(config(), tokens_model()))


@needs_muon
def test_deepspeed_is_refused_where_a_member_needs_matrices():
    with pytest.raises(ConfigError, match=r"muon takes tensors of 2 dimensions.*flat tensors"):
        deepspeed_config(make_plan(config("muon"), tokens_model()))
