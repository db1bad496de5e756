"""Saved names: nothing that a caller says about them is left unused, and no two stand for one parameter."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

from optimbuild import CheckpointError
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from tests.checkpoint.training import built, trained


@pytest.mark.parametrize("rename", [{"encoder.": "blocks."}, lambda name: name])
def test_a_rename_of_state_that_has_no_names_is_refused(rename: Any) -> None:
    model, fresh = built()
    old = torch.optim.AdamW(model.parameters())
    with pytest.raises(CheckpointError, match=r"rename: nothing in this state is called by a name \(layout: unnamed"):
        load_optimizer_state(fresh, old.state_dict(), rename=rename)


def test_names_of_state_that_has_its_own_are_refused() -> None:
    model, optimizer = trained()
    flat = StateDictOptions(flatten_optimizer_state_dict=True)
    for state in (optimizer_state(optimizer), get_optimizer_state_dict(model, optimizer, options=flat)):
        with pytest.raises(CheckpointError, match="names: this state calls each parameter by its name already"):
            load_optimizer_state(optimizer, state, names=[["head.bias"]])


def test_two_saved_names_of_one_parameter_are_refused_in_every_layout() -> None:
    model, optimizer = trained()
    named = optimizer_state(optimizer)
    only_state = {**named, "state": {**named["state"], "module.head.bias": named["state"]["head.bias"]}}
    flat = get_optimizer_state_dict(model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))
    twice = {**flat, "state.module.head.bias.step": flat["state.head.bias.step"]}
    by_name = get_optimizer_state_dict(model, optimizer)
    by_name["param_groups"][0]["params"].append("module.head.bias")
    by_position = copy.deepcopy(optimizer.state_dict())
    by_position["param_groups"][0]["param_names"].append("module.head.bias")
    by_position["param_groups"][0]["params"].append(99)
    for state in (only_state, twice, by_name, by_position):
        with pytest.raises(CheckpointError, match=r"both stand for 'head\.bias'|more than once: head\.bias"):
            load_optimizer_state(optimizer, state)
    merged = {"stem.0.bias": "blocks.0.attn.bias"}
    with pytest.raises(CheckpointError, match=r"'stem\.0\.bias' and .* both stand for 'blocks\.0\.attn\.bias'"):
        load_optimizer_state(optimizer, named, rename=merged)
    again = copy.deepcopy(optimizer.state_dict())
    again["param_groups"][0]["params"][0] = again["param_groups"][1]["params"][0]
    with pytest.raises(CheckpointError, match="the same parameter more than once"):
        load_optimizer_state(optimizer, again)
