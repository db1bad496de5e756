"""Ranks that differ under ZeRO all raise, and what is refused before any rank is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from optimbuild import ConfigError, OptimBuildError, build_optimizer, make_plan, optimizer
from tests.build.zero.training import OPTIMIZERS, RULES, mixed, net
from tests.distributed import run
from tests.models import Net

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
    """Refuses vectors once they hold numbers, so that planning does not notice; under ZeRO a rank may see none."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.ndim < 2 and not tensor.is_meta:
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
