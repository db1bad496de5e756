"""ZeRO on real processes: the plain optimizer's result bit for bit, whatever falls on which rank, and no hang."""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from optimbuild import ConfigError, OptimBuildError, build_optimizer, make_plan, optimizer
from optimbuild.build.zero.deepspeed import deepspeed_config
from tests.distributed import run
from tests.models import Net

RULES: list[dict[str, Any]] = [
    {"type": "no_decay"},
    {"type": "layer_decay", "ratio": 0.5},
    {"type": "freeze", "patterns": ["stem.0"]},
]
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"type": "adamw", "lr": 1e-2, "weight_decay": 0.05},
    "sgd": {"type": "sgd", "lr": 1e-2, "weight_decay": 0.05},
    "sgd_linear_probing": {"type": "sgd_linear_probing", "lr": 1e-2},
}


def config_of(kind: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"optimizer": kind, "rules": RULES[1:] if kind["type"] == "sgd_linear_probing" else RULES, **more}


def net(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return Net(depth=2, width=9).to(dtype)  # odd sizes, so that no tensor in a bucket starts at an even address


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 10,
    after_step: Callable[[int], None] = lambda step: None,
    width: int = 9,
    seed: int = 1,
) -> list[torch.Tensor]:
    """Train on the same data everywhere, unless seeds differ, and return the parameters."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        batch = torch.randn(4, width, generator=generator).to(next(model.parameters()).dtype)
        model(batch).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        after_step(step)
    return [parameter.detach() for parameter in model.parameters()]


def same(ours: list[torch.Tensor], plain: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def plain_and_sharded(config: dict[str, Any], make: Callable[[], nn.Module] = net, **options: Any) -> bool:
    """Say whether training with and without ZeRO gives the same parameters, bit for bit."""
    return same(*[trained({**config, "zero": zero}, make, **options) for zero in (False, config.get("zero", True))])


def trained(config: dict[str, Any], make: Callable[[], nn.Module] = net, **options: Any) -> list[torch.Tensor]:
    model = make()
    return train(model, build_optimizer(config, model), **options)


# --- the same result --------------------------------------------------------------------------


def every_kind() -> dict[str, bool]:
    found = {}
    for kind in OPTIMIZERS.values():
        for implementation in ("fused", "foreach"):
            config = config_of(kind, implementation=implementation)
            plain = trained(config)
            for view in (True, False):
                ours = trained({**config, "zero": {"bucket_view": view}})
                found[f"{kind['type']}, {implementation}, bucket view {view}"] = same(ours, plain)
    return found


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_ten_sharded_steps_equal_those_of_the_plain_optimizer(world_size):
    for rank in run(world_size, every_kind):
        assert len(rank) == 12
        assert [case for case, equal in rank.items() if not equal] == []


class Sign(torch.optim.Optimizer):
    """An optimizer of somebody else: no kernels, a state of its own."""

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                count = self.state[parameter].setdefault("count", torch.zeros(()))
                count += 1
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(
                    parameter.grad.sign() * group["lr"] / count
                )


def every_other_optimizer() -> dict[str, bool]:
    optimizer("test_sign", Sign, force=True)
    optimizer("test_adafactor", "torch.optim:Adafactor", force=True)
    others = ["Adam", "NAdam", "RAdam", "Adagrad", "Adamax", "Adadelta", "RMSprop", "ASGD", "Rprop"]
    return {
        name: plain_and_sharded({"optimizer": {"type": name, "lr": 1e-2}, "rules": RULES[1:]}, steps=4)
        for name in ["test_sign", "test_adafactor", *others]
    }


def only_matrices() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(9, 9, bias=False) for _ in range(5)])


def in_data_parallel() -> bool:
    """Train on other data on every rank, the gradients averaged by DDP."""
    ends = []
    for zero in (False, True):
        model = nn.parallel.DistributedDataParallel(net())
        built = build_optimizer(config_of(OPTIMIZERS["adamw"], zero=zero), model)
        ends.append(train(model, built, seed=dist.get_rank()))
    return same(*ends)


def mixed() -> Net:
    model = net()
    model.head.to(torch.bfloat16)
    model.blocks[0].to(torch.bfloat16)
    for before, module in ((torch.bfloat16, model.head), (torch.bfloat16, model.blocks[0])):
        module.register_forward_pre_hook(lambda _, args, dtype=before: tuple(arg.to(dtype) for arg in args))
    model.blocks[1].register_forward_pre_hook(lambda _, args: tuple(arg.float() for arg in args))
    return model


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 2), nn.Flatten())
    return model.to(memory_format=torch.channels_last)


def fallbacks() -> dict[str, Any]:
    dtypes, formats = mixed(), convolutions()
    adamw = {"optimizer": OPTIMIZERS["adamw"], "zero": True}
    for_dtypes, for_formats = build_optimizer(adamw, dtypes), build_optimizer(adamw, formats)
    views = [built.parameters_as_bucket_view for built in (for_dtypes, for_formats)]
    train(formats, for_formats, steps=2, width=48)
    return {
        "equal": plain_and_sharded(adamw, mixed),
        "equal in channels_last": plain_and_sharded(adamw, convolutions, width=48),
        "views": views,
        "notes": [built.plan.notes for built in (for_dtypes, for_formats)],
        "format": formats[1].weight.is_contiguous(memory_format=torch.channels_last),
        "dtype": dtypes.head.weight.dtype,
    }


def moved_after_the_build() -> list[bool]:
    """Train, move all parameters away, train on: what ``model.to`` does, or a swap of averaged weights."""
    found = []
    for move in (nn.Module.double, lambda model: model._apply(torch.clone)):
        plain, ours = net(), net()
        pairs = [(plain, build_optimizer(config_of(OPTIMIZERS["sgd"]), plain))]
        pairs.append((ours, build_optimizer(config_of(OPTIMIZERS["sgd"], zero=True), ours)))
        for model, built in pairs:
            if move is not nn.Module.double:
                train(model, built, steps=2)
            move(model)
        found.append(same(*[train(model, built, steps=3) for model, built in pairs]))
    return found


def added_later() -> tuple[bool, bool]:
    """Add a group to a built optimizer; the parameters of the first groups stay on their ranks."""
    pairs, stayed = [], True
    for zero in (False, True):
        model = net()
        model.extra = nn.Parameter(torch.ones(50))
        built = build_optimizer({"optimizer": OPTIMIZERS["adamw"], "rules": [{"type": "freeze", "patterns": ["extra"]}],
                                 "zero": zero}, model)  # fmt: skip
        train(model, built, steps=2)
        before = dict(built._param_to_rank) if zero else {}
        model.extra.requires_grad_(True)
        built.add_param_group({"params": [model.extra], "param_names": ["extra"], "lr": 0.1})
        model.register_forward_hook(lambda module, _, out: out * module.extra.mean())
        stayed &= all(built._param_to_rank[tensor] == rank for tensor, rank in before.items())
        pairs.append(train(model, built, steps=3))
    return same(*pairs), stayed


def variety() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "optimizers": every_other_optimizer(),
            "data parallel": in_data_parallel(),
            "muon": hasattr(torch.optim, "Muon")
            and plain_and_sharded({"optimizer": {"type": "Muon", "lr": 1e-2}}, only_matrices),
            "fallbacks": fallbacks(),
            "moved": moved_after_the_build(),
            "added": added_later(),
            "closure": with_closure(),
        }


def with_closure() -> float:
    model = nn.Linear(2, 2)
    built = build_optimizer({"optimizer": OPTIMIZERS["sgd"], "zero": True}, model)

    def closure() -> torch.Tensor:
        loss = model(torch.ones(1, 2)).sum() * 0 + 3
        loss.backward()
        return loss

    return float(built.step(closure))


@pytest.fixture(scope="module")
def varied() -> list[dict[str, Any]]:
    return run(2, variety, timeout=120)


def test_any_registered_optimizer_shards_to_the_same_result(varied):
    for rank in varied:
        assert len(rank["optimizers"]) == 11
        assert [name for name, equal in rank["optimizers"].items() if not equal] == []


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_shards_to_the_same_result(varied):
    assert [rank["muon"] for rank in varied] == [True, True]


def test_zero_under_ddp_gives_what_the_plain_optimizer_gives(varied):
    assert [rank["data parallel"] for rank in varied] == [True, True]


def test_mixed_dtypes_and_memory_formats_have_no_bucket_view(varied):
    for rank in varied:
        found = rank["fallbacks"]
        assert found["equal"]
        assert found["equal in channels_last"]
        assert found["views"] == [False, False]
        assert found["format"]
        assert found["dtype"] == torch.bfloat16
        for_dtypes, for_formats = found["notes"]
        assert for_dtypes == ("zero: no bucket view, because a bucket holds one dtype and there are bfloat16, float32",)
        assert for_formats == ("zero: no bucket view, because it would lose the memory format of 1.weight, 3.weight",)


def test_parameters_that_are_moved_after_the_build_are_followed(varied):
    assert [rank["moved"] for rank in varied] == [[True, True]] * 2


def test_a_group_that_is_added_later_moves_no_parameter_to_another_rank(varied):
    assert [rank["added"] for rank in varied] == [(True, True)] * 2


def test_a_step_returns_what_its_closure_returns(varied):
    assert [rank["closure"] for rank in varied] == [3.0, 3.0]


# --- schedules --------------------------------------------------------------------------------


def timm_schedulers() -> Any:
    """Import timm's schedulers without its models, which want torchvision too; this process ends soon."""
    package = ModuleType("timm")
    spec = importlib.util.find_spec("timm")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["timm"] = package
    return importlib.import_module("timm.scheduler")


def schedules_of_timm() -> dict[str, Callable[[Any], Callable[[int], Any]]]:
    cosine = timm_schedulers().CosineLRScheduler

    def timm_cosine(built: Any) -> Callable[[int], Any]:
        scheduler = cosine(built, t_initial=8, warmup_t=3, warmup_lr_init=1e-4)
        return lambda step: scheduler.step(step + 1)

    return {"timm cosine": timm_cosine}


def schedules() -> dict[str, Callable[[Any], Callable[[int], Any]]]:
    from mmengine.optim import OptimWrapper
    from mmengine.optim.scheduler import CosineAnnealingLR as MMEngineCosine
    from mmengine.optim.scheduler import CosineAnnealingMomentum, LinearLR
    from torch.optim import lr_scheduler as torch_schedules

    def each(*schedulers: Any) -> Callable[[int], Any]:
        return lambda step: [scheduler.step() for scheduler in schedulers]

    def plateau(built: Any) -> Callable[[int], Any]:
        scheduler = torch_schedules.ReduceLROnPlateau(built, patience=1)
        return lambda step: scheduler.step(1.0)

    def sequence(built: Any) -> Callable[[int], Any]:
        parts = [torch_schedules.LinearLR(built, 0.1, total_iters=3), torch_schedules.CosineAnnealingLR(built, 7)]
        return each(torch_schedules.SequentialLR(built, parts, milestones=[3]))

    return {
        "torch lambda": lambda built: each(torch_schedules.LambdaLR(built, lambda step: 0.9**step)),
        "torch one cycle": lambda built: each(torch_schedules.OneCycleLR(built, max_lr=0.1, total_steps=12)),
        "torch sequence": sequence,
        "torch plateau": plateau,
        "mmengine": lambda built: each(
            LinearLR(OptimWrapper(built), 0.1, end=3), MMEngineCosine(OptimWrapper(built), T_max=7, begin=3)
        ),
        "mmengine momentum": lambda built: each(CosineAnnealingMomentum(built, T_max=7)),
    }


def scheduled(
    schedules: Callable[[], dict[str, Callable[[Any], Callable[[int], Any]]]],
) -> dict[str, tuple[bool, bool, bool]]:
    """For each schedule: the same parameters, the same LRs, and LRs that moved."""
    found = {}
    for name, schedule in schedules().items():
        ends = []
        for zero in (False, True):
            model = net()
            built = build_optimizer(config_of(OPTIMIZERS["adamw"], zero=zero), model)
            planned = [group["lr"] for group in built.param_groups]
            parameters = train(model, built, after_step=schedule(built))
            settings = [(group["lr"], tuple(group["betas"])) for group in built.param_groups]
            ends.append((parameters, settings, planned))
        (plain, their_settings, planned), (ours, our_settings, _) = ends
        moved = [lr for lr, _ in our_settings] != planned or name == "mmengine momentum"
        found[name] = same(ours, plain), our_settings == their_settings, moved
    return found


def test_schedulers_drive_zero_as_they_drive_the_plain_optimizer():
    for rank in run(2, scheduled, schedules, timeout=120):
        assert len(rank) == 6
        assert rank == dict.fromkeys(rank, (True, True, True))


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_scheduler_of_timm_drives_it_as_it_drives_the_plain_optimizer():
    for rank in run(2, scheduled, schedules_of_timm, timeout=120):
        assert rank == {"timm cosine": (True, True, True)}


# --- what falls on which rank -----------------------------------------------------------------


def few_tensors() -> dict[str, Any]:
    """Three tensors in two groups: on four ranks one has none, and each group is empty somewhere."""

    def tiny() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(9, 3, bias=False), nn.Linear(3, 1))

    config = {"optimizer": OPTIMIZERS["adamw"], "rules": [{"type": "no_decay"}]}
    found: dict[str, Any] = {
        f"equal, bucket view {view}, {kind['type']}": plain_and_sharded(
            {**config, "optimizer": kind, "zero": {"bucket_view": view}}, tiny
        )
        for view in (True, False)
        for kind in (OPTIMIZERS["adamw"], OPTIMIZERS["sgd"])
    }
    model = tiny()
    built = build_optimizer({**config, "zero": True}, model)
    train(model, built, steps=1)
    return {
        **found,
        "held": [len(group["params"]) for group in built.optim.param_groups],
        "states": len(built.optim.state),
        "names": [group["param_names"] for group in built.param_groups],
        "planned": [list(group.params) for group in built.plan.groups],
    }


def test_fewer_tensors_than_ranks_leave_some_ranks_empty():
    ranks = run(4, few_tensors)
    for rank in ranks:
        assert [case for case, equal in rank.items() if case.startswith("equal") and not equal] == []
        assert rank["states"] == sum(rank["held"])
        assert rank["names"] == rank["planned"] == [["0.weight", "1.weight"], ["1.bias"]]
    assert sorted(rank["held"] for rank in ranks) == [[0, 0], [0, 1], [1, 0], [1, 0]]


class ViT(nn.Module):
    """The parameters of a ViT-B/16, without the rest of it."""

    def __init__(self, width: int = 768, depth: int = 12) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 197, width))
        self.patch_embed = nn.Conv2d(3, width, 16)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "proj": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "fc1": nn.Linear(width, 4 * width),
                    "fc2": nn.Linear(4 * width, width),
                }
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1000)


def state_of_a_vit_b() -> tuple[int, list[int], int]:
    """Return the bytes of state that this rank holds, what was foreseen for all, and the number of groups."""
    with torch.device("meta"):
        model = ViT()
    model.to_empty(device="cpu")
    rules = [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.9}]
    built = build_optimizer({"optimizer": OPTIMIZERS["adamw"], "rules": rules, "zero": True}, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    built.step()
    held = sum(value.nbytes for state in built.optim.state.values() for value in state.values())
    return held, [rank.state for rank in built.plan.memory(dist.get_world_size()).ranks], len(built.param_groups)


def test_no_rank_of_four_holds_more_than_1_05_times_the_mean():
    answers = run(4, state_of_a_vit_b, timeout=120)
    held = [state for state, _, _ in answers]
    assert answers[0][2] == 28
    assert max(held) <= 1.05 * sum(held) / 4
    assert all(foreseen == held for _, foreseen, _ in answers)


# --- ranks that differ ------------------------------------------------------------------------


def refused(config: Any, model: nn.Module) -> str:
    """Return what a build refuses, and make sure that nothing was changed."""
    before = [(parameter.requires_grad, parameter.data_ptr()) for parameter in model.parameters()]
    with pytest.raises(OptimBuildError) as caught:
        build_optimizer(config, model)
    assert isinstance(caught.value, ConfigError)
    assert [(parameter.requires_grad, parameter.data_ptr()) for parameter in model.parameters()] == before
    return str(caught.value)


class Picky(torch.optim.SGD):
    """An optimizer that refuses vectors, as Muon does; under ZeRO a rank may see none of them."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.ndim < 2:
                    raise ValueError("only matrices")


def differences() -> dict[str, str]:
    odd = dist.get_rank() == 1
    optimizer("test_picky", Picky, force=True)
    adamw = OPTIMIZERS["adamw"]
    slow_head = [{"type": "match", "table": {"head": {"lr_mult": 0.5}}}]
    reordered = net()
    if odd:
        reordered._modules["norm"] = reordered._modules.pop("norm")
    lone = nn.ParameterDict({"matrix": nn.Parameter(torch.zeros(9, 9)), "vector": nn.Parameter(torch.zeros(9))})
    return {
        "lr": refused({"optimizer": adamw, "rules": slow_head if odd else [], "zero": True}, net()),
        "frozen": refused({"optimizer": adamw, "rules": RULES if odd else RULES[:2], "zero": True}, net()),
        "dtype": refused({"optimizer": adamw, "zero": True}, net(torch.bfloat16 if odd else torch.float32)),
        "shape": refused({"optimizer": adamw, "zero": True}, Net(width=8 if odd else 9)),
        "model": refused({"optimizer": adamw, "zero": True}, Net(depth=2 + odd)),
        "order": refused({"optimizer": adamw, "zero": True}, reordered),
        "bucket view": refused({"optimizer": adamw, "zero": {"bucket_view": odd}}, net()),
        "kernel": refused({"optimizer": adamw, "zero": True, "implementation": "foreach" if odd else "fused"}, net()),
        "one cannot plan": refused({"optimizer": {**adamw, "lr": -1.0 if odd else 1.0}, "zero": True}, net()),
        "one cannot build": refused({"optimizer": {"type": "test_picky"}, "zero": True}, lone),
        "gaps": refused(
            {"optimizer": adamw, "zero": {"bucket_view": False}},
            nn.ParameterDict({"strided": nn.Parameter(torch.zeros(4, 6)[:, :: 2 if odd else 1])}),
        ),
    }


def test_ranks_that_differ_all_raise_and_name_the_parameters():
    ranks = run(3, differences)
    found = ranks[0]
    for rank in (0, 2):
        assert ranks[rank] == found
    shared = "the ranks planned differently, and nothing was built. Rank 1 differs from rank 0"
    for case in ("lr", "frozen", "dtype", "shape", "model", "order", "bucket view", "kernel"):
        assert ranks[1][case] == found[case]
        assert found[case].startswith(f"zero: {shared}: ")
    assert "lr of 2 parameters: 0.01 → 0.005: head.weight, head.bias" in found["lr"]
    assert "frozen of 2 parameters: False → True: stem.0.weight, stem.0.bias" in found["frozen"]
    assert "dtype of" in found["dtype"]
    assert "'float32' → 'bfloat16': pos_embed" in found["dtype"]
    assert "shape of 1 parameter: (1, 1, 9) → (1, 1, 8): pos_embed" in found["shape"]
    assert "only in the second, 8 parameters: blocks.2.norm.weight" in found["model"]
    assert "→" in found["order"]
    assert "bucket_view: False → True" in found["bucket view"]
    assert "implementation of" in found["kernel"]
    for case, why in (("one cannot plan", "lr"), ("one cannot build", "only matrices"), ("gaps", "strided")):
        assert "not every rank can: rank 1: " in found[case]
        assert why in found[case]
        assert why in ranks[1][case]
        assert "not every rank" not in ranks[1][case]


# --- without processes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [{"optimizer": OPTIMIZERS["adamw"], "zero": True}, {"TRAIN": {"OPTIMIZER": {"USE_ZERO": True}}}]
)
def test_without_a_process_group_the_error_shows_how_to_start_one(config):
    message = refused(config, net())
    assert "torchrun --nproc-per-node 2 " in message
    assert "init_process_group" in message
    assert message.startswith("TRAIN.OPTIMIZER" if "TRAIN" in config else "zero: ")


def test_a_plan_gives_the_reason_for_each_fallback_of_zero():
    config = {"optimizer": {"type": "NAdam", "lr": 1e-3}, "zero": True}
    notes = make_plan(config, mixed()).notes
    assert notes[0].startswith("zero: no bucket view, because a bucket holds one dtype")
    assert notes[1].startswith("zero: NAdam runs as foreach, because there is no fused kernel")
    assert make_plan({**config, "zero": False}, mixed()).notes == ()


def test_other_stages_and_unknown_options_of_zero_are_refused():
    for zero, words in (
        ({"stage": 3}, ["zero.stage", "fully_shard", "DeepSpeed"]),
        ({"bucket_veiw": 1}, ["'bucket_view'"]),
    ):
        with pytest.raises(ConfigError) as caught:
            make_plan({"optimizer": OPTIMIZERS["adamw"], "zero": zero}, net())
        assert all(word in str(caught.value) for word in words)


def test_the_deepspeed_config_holds_the_base_options_as_json():
    adamw = deepspeed_config(make_plan(config_of(OPTIMIZERS["adamw"]), net()))
    assert adamw["optimizer"]["type"] == "AdamW"
    assert adamw["optimizer"]["params"]["betas"] == [0.9, 0.999]
    assert math.isclose(adamw["optimizer"]["params"]["lr"], 1e-2)
    probing = deepspeed_config(make_plan(config_of(OPTIMIZERS["sgd_linear_probing"]), net()))
    assert probing["optimizer"]["params"]["weight_decay"] == 0.0
    optimizer("test_sign", Sign, force=True)
    assert "optimizer" not in deepspeed_config(make_plan({"optimizer": {"type": "test_sign"}}, net()))


def test_the_deepspeed_config_of_a_plan_with_zero_is_refused():
    with pytest.raises(ConfigError, match="leave `zero` off"):
        deepspeed_config(make_plan(config_of(OPTIMIZERS["adamw"], zero=True), net()))
