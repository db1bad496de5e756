"""Checkpoints of DeepSpeed's ZeRO, stages 1 to 3, resume by name without DeepSpeed's engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import fully_shard

from optimbuild import CheckpointError, build_optimizer
from optimbuild.build.zero.deepspeed import deepspeed_config
from optimbuild.checkpoint import deepspeed_state, load_optimizer_state, optimizer_state
from tests.build.test_sharded import deepspeed_on_cpu, training
from tests.checkpoint.training import CONFIG, net, plain, train
from tests.distributed import FSDP2_TRAINS_ON_CPU, run


def train_with_deepspeed(directory: str) -> None:
    """Train three steps on two ranks that see the same batches, as one process would, and save."""
    deepspeed = deepspeed_on_cpu()
    for stage in (1, 2, 3):
        model = net()
        optimizer = build_optimizer(CONFIG, model)
        settings = {**training(stage), **deepspeed_config(optimizer.plan)}  # type: ignore[attr-defined]
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
        for step in range(3):
            batch = torch.randn(4, 9, generator=torch.Generator().manual_seed(step))
            engine.backward(engine(batch).square().sum())
            engine.step()
        engine.save_checkpoint(f"{directory}/{stage}")


def resumed_under_zero(directory: str) -> list[dict[str, Any]]:
    found = []
    for stage in (1, 2, 3):
        optimizer = build_optimizer({**CONFIG, "zero": True}, net())
        load_optimizer_state(optimizer, deepspeed_state(f"{directory}/{stage}"))
        found.append(plain(optimizer_state(optimizer)))
    return found


def resumed_under_fsdp2(directory: str) -> list[dict[str, Any]]:
    """Load into a model that FSDP2 shards, and take a step, which shards of a wrong form would not survive."""
    found = []
    for stage in (1, 2, 3):
        model = net()
        fully_shard(model)
        optimizer = build_optimizer(CONFIG, model)
        load_optimizer_state(optimizer, deepspeed_state(f"{directory}/{stage}"))
        found.append(plain(optimizer_state(optimizer)))
        train(model, optimizer, range(3, 4))
        assert {float(kept["step"]) for kept in optimizer_state(optimizer)["state"].values()} == {4.0}
    return found


@pytest.mark.slow
def test_a_checkpoint_of_deepspeed_resumes_plain_and_on_other_ranks(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    run(2, train_with_deepspeed, str(tmp_path), timeout=200)
    model = net()
    whole = build_optimizer(CONFIG, model)
    train(model, whole, range(3))
    expected = optimizer_state(whole)["state"]
    states = []
    for stage in (1, 2, 3):
        optimizer = build_optimizer(CONFIG, net())
        assert load_optimizer_state(optimizer, deepspeed_state(tmp_path / str(stage))).missing == ()
        states.append(optimizer_state(optimizer))
        for name, found in states[-1]["state"].items():
            for key, value in found.items():
                torch.testing.assert_close(value, expected[name][key])
    for found in run(3, resumed_under_zero, str(tmp_path), timeout=120):
        assert [each["state"] for each in found] == [plain(state)["state"] for state in states]
    if FSDP2_TRAINS_ON_CPU:
        for found in run(3, resumed_under_fsdp2, str(tmp_path), timeout=120):
            assert [each["state"] for each in found] == [plain(state)["state"] for state in states]
    next((tmp_path / "1").rglob("zero_pp_rank_1*")).unlink()
    with pytest.raises(CheckpointError, match="is of 2 ranks, and has 1"):
        deepspeed_state(tmp_path / "1")


def test_what_is_no_checkpoint_of_deepspeed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError):
        deepspeed_state(tmp_path)
    with pytest.raises(CheckpointError, match="not all files"):
        deepspeed_state(tmp_path, "empty")
