"""ZeRO on real processes: the plain optimizer's result bit for bit, whatever falls on which rank."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from optimbuild import build_optimizer, optimizer
from tests.build.zero.training import (
    OPTIMIZERS,
    RULES,
    Sign,
    config_of,
    mixed,
    net,
    plain_and_sharded,
    same,
    train,
    trained,
)
from tests.distributed import run

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


@pytest.mark.parametrize("world_size", [1, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_ten_sharded_steps_equal_those_of_the_plain_optimizer(world_size):
    for rank in run(world_size, every_kind):
        assert len(rank) == 12
        assert [case for case, equal in rank.items() if not equal] == []


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


def refused_later() -> bool:
    """Add a group of which no bucket can be made, and train on as if nothing had happened."""
    pairs = []
    for zero in (False, True):
        model = net()
        built = build_optimizer({"optimizer": OPTIMIZERS["adamw"], "zero": zero}, model)
        train(model, built, steps=2)
        if zero:
            sparse = nn.Parameter(torch.ones(50, 2).to_sparse())
            with pytest.raises(RuntimeError):
                built.add_param_group({"params": [("sparse", sparse)]})
            assert len(built.param_groups) == len(built.optim.param_groups) == 1
            assert sparse not in built._param_to_rank
        pairs.append(train(model, built, steps=3))
    return same(*pairs)


def other_dtype_later() -> bool:
    """Add a parameter of another dtype: no dtype changes, and the ranks send one tensor after the other."""
    model = net()
    built = build_optimizer({"optimizer": OPTIMIZERS["adamw"], "zero": True}, model)
    train(model, built, steps=1)
    half = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    built.add_param_group({"params": [("half", half)]})
    half.grad = torch.ones_like(half)
    train(model, built, steps=1)
    moved = half.dtype is torch.bfloat16 and bool((half < 1).all())
    return moved and {tensor.dtype for tensor in model.parameters()} == {torch.float32}


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
            "refused": refused_later(),
            "other dtype": other_dtype_later(),
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


def test_a_group_that_fails_to_be_added_leaves_everything_as_it_was(varied):
    assert [rank["refused"] for rank in varied] == [True, True]


def test_a_parameter_of_another_dtype_ends_the_bucket_view(varied):
    assert [rank["other dtype"] for rank in varied] == [True, True]


def test_a_step_returns_what_its_closure_returns(varied):
    assert [rank["closure"] for rank in varied] == [3.0, 3.0]


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
