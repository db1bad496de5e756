"""Torch's own functions to save and load state work with built optimizers, on plain and on FSDP2 models."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import fully_shard

from optimbuild import build_optimizer
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from tests.checkpoint.training import CONFIG, SGD, net, plain, resumed, same, train, trained, weights
from tests.distributed import needs_fsdp2_on_cpu, run


@pytest.mark.parametrize("config", [CONFIG, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flattened"])
def test_torchs_state_dict_api_round_trips_on_a_plain_model(config: Any, flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    whole, optimizer = trained(config)
    state = copy.deepcopy(get_optimizer_state_dict(whole, optimizer, options=options))
    again, fresh = resumed(whole, config)
    set_optimizer_state_dict(again, fresh, state, options=options)
    train(again, fresh, range(5, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(again), weights(whole))


def test_a_state_of_torchs_state_dict_api_loads_by_name() -> None:
    whole, optimizer = trained()
    state = copy.deepcopy(get_optimizer_state_dict(whole, optimizer))
    again, fresh = resumed(whole)
    assert load_optimizer_state(fresh, state).layout == "torch, keyed by name"
    train(again, fresh, range(5, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(again), weights(whole))


def test_a_compiled_step_goes_on_after_a_load() -> None:
    whole, optimizer = trained()
    again, fresh = resumed(whole)
    load_optimizer_state(fresh, optimizer_state(optimizer))
    step = torch.compile(fresh.step, backend="eager")
    again(torch.ones(4, 9)).sum().backward()
    step()
    step()
    assert {float(found["step"]) for found in fresh.state.values()} == {7.0}


# --- FSDP2 on two ranks -----------------------------------------------------------------------


def shard(model: nn.Module) -> nn.Module:
    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block)
    fully_shard(model)
    return model


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.full_tensor().detach().clone() for name, tensor in model.named_parameters()}  # type: ignore[attr-defined]


def sharded_again(start: dict[str, Any]) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = net()
    model.load_state_dict(start)
    shard(model)
    return model, build_optimizer(CONFIG, model)


def resume_fsdp2_in_every_way(directory: str) -> tuple[Any, list[Any]]:
    """Train a sharded model to step 5, resume it there in each of the ways, and go on to step 10."""
    home = Path(directory)
    model = shard(net())
    optimizer = build_optimizer(CONFIG, model)
    train(model, optimizer, range(5))
    start = whole_weights(model) | {name: buffer.clone() for name, buffer in model.named_buffers()}
    by_torch = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    save(optimizer, home)
    state = optimizer_state(optimizer)
    one = optimizer_state(optimizer, to_rank=1)
    assert bool(one) == (dist.get_rank() == 1)
    if one:
        assert same(one, state)
        torch.save({"state": state, "model": start}, home / "plain.pt")
    train(model, optimizer, range(5, 10))

    resumes: list[Any] = []
    ways = [
        lambda model, fresh: set_optimizer_state_dict(model, fresh, by_torch),
        lambda model, fresh: load(fresh, home),
        lambda model, fresh: load_optimizer_state(fresh, state),
        lambda model, fresh: load_optimizer_state(fresh, state),  # which the steps after the first did not change
        lambda model, fresh: fresh.load_state_dict(copy.deepcopy(by_torch)),
    ]
    for way in ways:
        again, fresh = sharded_again(start)
        way(again, fresh)
        train(again, fresh, range(5, 10))
        resumes.append(plain(whole_weights(again)))
    alone = build_optimizer(CONFIG, net())
    load_optimizer_state(alone, by_torch)  # shards, which become whole again
    assert same(optimizer_state(alone)["state"], state["state"])
    return plain(whole_weights(model)), resumes


@needs_fsdp2_on_cpu
def test_fsdp2_resumes_by_torch_and_by_name_and_its_saves_load_without_it(tmp_path: Path) -> None:
    results = run(2, resume_fsdp2_in_every_way, str(tmp_path))
    for whole, resumes in results:
        assert all(found == whole for found in resumes)
    kept = torch.load(tmp_path / "plain.pt", weights_only=True)
    model = net()
    model.load_state_dict(kept["model"])
    optimizer = build_optimizer(CONFIG, model)
    load(optimizer, tmp_path)
    assert same(optimizer_state(optimizer)["state"], kept["state"]["state"])
    load_optimizer_state(optimizer, kept["state"])
    assert same(optimizer_state(optimizer)["state"], kept["state"]["state"])


def save_with_dcp(directory: str) -> dict[str, Any]:
    """Save the optimizer of an FSDP2 model as torch's own scripts do, on two ranks, in both forms."""
    import torch.distributed.checkpoint as dcp

    model = shard(net())
    optimizer = build_optimizer(CONFIG, model)
    train(model, optimizer, range(3))
    for flat in (False, True):
        options = StateDictOptions(flatten_optimizer_state_dict=flat)
        state = {"optimizer": get_optimizer_state_dict(model, optimizer, options=options)}
        dcp.save(state, checkpoint_id=f"{directory}/{flat}")
    return plain(optimizer_state(optimizer))


def load_from_dcp(directory: str, how: str) -> list[dict[str, Any]]:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    found = []
    for flat in (False, True):
        file = f"{directory}/{flat}-{how}-{dist.get_rank() if dist.is_initialized() else 0}.pt"
        dcp_to_torch_save(f"{directory}/{flat}", file)
        model = net()
        if how == "fsdp2":
            model = shard(model)
        config = {**CONFIG, "zero": True} if how == "zero" else CONFIG
        optimizer = build_optimizer(config, model)
        load_optimizer_state(optimizer, torch.load(file, weights_only=True)["optimizer"])
        found.append(plain(optimizer_state(optimizer)))
    return found


@needs_fsdp2_on_cpu
def test_what_fsdp2_saved_with_dcp_resumes_anywhere(tmp_path: Path) -> None:
    """On another number of ranks, and under ZeRO, FSDP2 or neither."""
    saved = run(2, save_with_dcp, str(tmp_path), timeout=120)[0]["state"]
    results = [load_from_dcp(str(tmp_path), "plain")]
    results += run(2, load_from_dcp, str(tmp_path), "zero", timeout=120)
    results += run(3, load_from_dcp, str(tmp_path), "fsdp2", timeout=120)
    assert all(found["state"] == saved for forms in results for found in forms)
