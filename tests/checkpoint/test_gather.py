"""State that is spread over ranks is gathered on the chosen rank, or fails on every rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state, save
from tests.checkpoint.training import CONFIG, SGD, plain, train, trained
from tests.distributed import run
from tests.models import Net


def gather() -> list[Any]:
    """Gather the state of a mixed model on each rank in turn, on all, and on one that does not exist."""
    torch.manual_seed(0)
    model = Net(depth=1, width=9)
    model.blocks.to(torch.bfloat16)
    model.head.to(torch.float64)
    optimizer = build_optimizer({**SGD, "zero": True}, model)
    for tensor in list(model.parameters())[1:]:  # the first one never gets a gradient
        tensor.grad = torch.arange(tensor.numel(), dtype=tensor.dtype).view_as(tensor)
    optimizer.step()
    found: list[Any] = [plain(optimizer_state(optimizer, to_rank)) for to_rank in (0, 1, 2, None)]
    for nowhere in (3, -1, "0", True):
        with pytest.raises(CheckpointError, match="to_rank must be a rank from 0 to 2, or None for all, not"):
            optimizer_state(optimizer, nowhere)  # type: ignore[arg-type]
    return found


def test_the_chosen_rank_gets_all_state_of_any_dtype() -> None:
    results = run(3, gather)
    whole = results[0][3]
    assert len(whole["state"]) == len(whole["params"]) - 1
    assert {kept["momentum_buffer"][0] for kept in whole["state"].values()} == {
        "torch.float32",
        "torch.bfloat16",
        "torch.float64",
    }
    for rank, found in enumerate(results):
        assert found[3] == whole
        assert [bool(state) for state in found[:3]] == [rank == chosen for chosen in range(3)]
        assert found[rank] == whole


def fail_on_one_rank(directory: str) -> list[str]:
    """Keep something that cannot be saved on one rank: all must hear of it, and none may wait for ever."""
    _, optimizer = trained({**CONFIG, "zero": True}, steps=1)
    state = next(iter(optimizer.optim.state.values()))  # type: ignore[attr-defined]
    kept = state["exp_avg"]
    if dist.get_rank() == 1:
        state["exp_avg"] = [1]
    messages = []
    for work in (lambda: optimizer_state(optimizer), lambda: save(optimizer, directory)):
        with pytest.raises(CheckpointError) as caught:
            work()
        messages.append(str(caught.value))
    state["exp_avg"] = kept
    with pytest.raises(CheckpointError) as caught:
        save(optimizer, Path(directory) / str(dist.get_rank()))  # as if the ranks saw different file systems
    return [*messages, str(caught.value)]


def test_a_failure_on_one_rank_is_an_error_on_all(tmp_path: Path) -> None:
    for rank, messages in enumerate(run(2, fail_on_one_rank, str(tmp_path / "save"))):
        assert all("keeps [1] as 'exp_avg'" in message for message in messages[:2])
        assert "Do all ranks see the same file system?" in messages[2]
        assert all(message.startswith("rank 1: ") == (rank == 0) for message in messages)
    assert not list(tmp_path.rglob("optimbuild.json*"))


def load_what_does_not_fit() -> list[Any]:
    """Load state that fits no rank into shards, which must stay as they are."""
    model, optimizer = trained({**CONFIG, "zero": True}, steps=2)
    state = optimizer_state(optimizer)
    train(model, optimizer, range(2, 3))
    before = plain(optimizer_state(optimizer))
    state["state"]["head.bias"]["exp_avg"] = torch.zeros(3)
    for door in (lambda: load_optimizer_state(optimizer, state), lambda: optimizer.load_state_dict(state)):
        with pytest.raises(CheckpointError, match=r"head\.bias \(exp_avg\): \(3,\) saved, \(4,\) here"):
            door()
    return [before, plain(optimizer_state(optimizer))]


def test_shards_into_which_a_state_does_not_fit_stay_as_they_are() -> None:
    """Also on the rank that does not keep the parameter in question."""
    for before, after in run(2, load_what_does_not_fit):
        assert before == after
