"""FSDP1: no state by name is made of one rank's flat pieces, and torch's own functions save and load."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FullyShardedDataParallel

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from tests import distributed

CONFIG = {"optimizer": {"type": "adamw", "lr": 0.1, "weight_decay": 0.1}, "rules": [{"type": "no_decay"}]}
Optimizer = torch.optim.Optimizer


@contextlib.contextmanager
def torch_may_warn() -> Iterator[None]:
    """Let torch say that its old functions will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="FSDP is switching")
        warnings.filterwarnings("ignore", message="FSDP.state_dict_type")
        yield


def sharded(original: bool) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    bare = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    model = FullyShardedDataParallel(bare, use_orig_params=original, device_id=torch.device("cpu"))
    if original:
        return model, build_optimizer(CONFIG, model)
    return model, torch.optim.AdamW(model.named_parameters(), lr=0.1)


def trained(original: bool) -> tuple[nn.Module, Optimizer]:
    model, optimizer = sharded(original)
    for _ in range(2):
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def refusals(original: bool, path: Path) -> tuple[list[str], list[str]]:
    with torch_may_warn():
        _, optimizer = trained(original)
    by_name = {"state": {}, "params": {}, "fingerprint": "", "version": 1}
    attempts: list[Callable[[], Any]] = [
        lambda: save(optimizer, path),
        lambda: optimizer_state(optimizer),
        lambda: optimizer_state(optimizer, to_rank=0),
        lambda: load(optimizer, path),
        lambda: load_optimizer_state(optimizer, by_name),
        lambda: load_optimizer_state(optimizer, optimizer.state_dict()),
        *([lambda: optimizer.load_state_dict(by_name)] if original else []),
    ]
    found = []
    for attempt in attempts:
        with pytest.raises(CheckpointError) as caught:
            attempt()
        found.append(str(caught.value))
    return found, [path.name for path in path.iterdir()]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("original", [True, False])
def test_flat_shards_are_neither_saved_nor_loaded_by_name(original: bool, ranks: int, tmp_path: Path) -> None:
    for texts, files in distributed.run(ranks, refusals, original, tmp_path):
        assert not files
        for text in texts:
            assert text.startswith("FullyShardedDataParallel (FSDP1) has flattened the parameters")
            assert "fully_shard" in text
            assert "get_optimizer_state_dict" in text


def state_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the state of the tensors of which this rank holds a piece."""
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"] if tensor.numel()]
    found = [optimizer.state[tensor] for tensor in tensors]
    return [{key: value.tolist() for key, value in entries.items()} for entries in found]


def resumed_states() -> tuple[Any, Any]:
    whole = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    with torch_may_warn():
        model, optimizer = trained(original=True)
        before = state_of(optimizer)
        resumed = build_optimizer(CONFIG, model)
        set_optimizer_state_dict(
            model, resumed, get_optimizer_state_dict(model, optimizer, options=whole), options=whole
        )
    return before, state_of(resumed)


def test_torchs_own_functions_save_and_load_what_a_rank_holds() -> None:
    for before, after in distributed.run(2, resumed_states):
        assert after == before
