"""The drop-in for the published optimizer module: the same numbers, from the same calls."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from optimbuild import ConfigError, OptimBuildError
from optimbuild.compat import internvl
from optimbuild.config.dialects.yacs import defaults
from tests.models import Net

CASES = [json.loads(path.read_text()) for path in sorted(Path("tests/golden/cases").glob("*.json"))]
TRAIN = [case for case in CASES if "TRAIN" in case["config"] and "params" in case]


def _module(case: dict[str, Any]) -> nn.Module:
    """Return a module with the names and shapes of a golden model, on the meta device, and its hook."""
    places = (Path("tests/golden/models"), Path("configs/inventories"))
    path = next(place / f"{case['model']}.json" for place in places if (place / f"{case['model']}.json").exists())
    data = json.loads(path.read_text())
    root = nn.Module()
    for row in data["params"]:
        *parents, leaf = row["name"].split(".")
        module = root
        for part in parents:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        tensor = nn.Parameter(torch.empty(row["shape"], device="meta"), requires_grad=row["trainable"])
        module.register_parameter(leaf, tensor)
    for hook, answers in data["hooks"].items():
        setattr(root, hook, lambda ratio, answers=answers: answers[repr(ratio)])
    return root


@pytest.mark.parametrize("case", TRAIN, ids=lambda case: case["case"])
def test_groups_are_those_of_the_published_function(case):
    train, node = case["config"]["TRAIN"], case["config"]["TRAIN"]["OPTIMIZER"]
    model = _module(case)
    groups = internvl.set_weight_decay_and_lr(
        model,
        train["WEIGHT_DECAY"],
        train["BASE_LR"],
        {},
        {},
        lr_layer_decay=train["LR_LAYER_DECAY"],
        lr_layer_decay_ratio=train["LR_LAYER_DECAY_RATIO"],
        freeze_backbone=node["FREEZE_BACKBONE"],
        dcn_lr_mul=node["DCN_LR_MUL"],
    )
    found = {name: (g["lr"], g["weight_decay"]) for g in groups for name in g["param_names"]}
    frozen = set(case["frozen"])
    wanted = {row["name"]: (row["lr"], row["weight_decay"]) for row in case["params"] if row["name"] not in frozen}
    assert found == wanted
    assert {name for name, tensor in model.named_parameters() if not tensor.requires_grad} == frozen


@pytest.mark.parametrize(
    "case", [c for c in TRAIN if not c["config"]["TRAIN"]["OPTIMIZER"]["USE_ZERO"]], ids=lambda c: c["case"]
)
def test_the_optimizer_is_that_of_the_published_function(case):
    optimizer = internvl.build_optimizer(CfgNode(case["config"]), _module(case))
    assert type(optimizer).__name__ == case["optimizer"]["cls"]
    for option, value in case["optimizer"]["defaults"].items():
        wanted = tuple(value) if isinstance(value, list) else value
        assert optimizer.defaults[option] == wanted
        assert all(group[option] == wanted for group in optimizer.param_groups)
    rows = {row["name"]: row for row in case["params"]}
    for group in optimizer.param_groups:
        for name in group["param_names"]:
            assert (group["lr"], group["weight_decay"]) == (rows[name]["lr"], rows[name]["weight_decay"])


def test_any_optimizer_takes_the_groups():
    model = Net()
    groups = internvl.set_weight_decay_and_lr(model, 0.05, 0.1, {"pos_embed"}, ("head",))
    found = {name: g["weight_decay"] for g in groups for name in g["param_names"]}
    assert found["pos_embed"] == found["head.weight"] == found["blocks.0.norm.weight"] == 0.0
    assert found["blocks.0.attn.weight"] == 0.05
    for cls in (torch.optim.RAdam, torch.optim.Adagrad):
        assert len(cls(groups).param_groups) == 2


def test_the_quirks_can_be_turned_off_and_are_logged(caplog):
    config = defaults()
    config.TRAIN.OPTIMIZER.NAME = "sgd_linear_probing"
    with caplog.at_level(logging.WARNING):
        config.TRAIN.OPTIMIZER.REFERENCE_QUIRKS = True
        published = internvl.build_optimizer(config, Net())
    assert "without REFERENCE_QUIRKS it would differ" in caplog.text
    config.TRAIN.OPTIMIZER.REFERENCE_QUIRKS = False
    documented = internvl.build_optimizer(config, Net())
    assert {g["weight_decay"] for g in published.param_groups} == {0.0, 0.05}
    assert {g["weight_decay"] for g in documented.param_groups} == {0.0}


def test_a_config_without_the_key_means_the_published_behaviour():
    config = {"TRAIN": {"WEIGHT_DECAY": 0.05, "OPTIMIZER": {"NAME": "sgd_linear_probing"}}}
    assert {g["weight_decay"] for g in internvl.build_optimizer(config, Net()).param_groups} == {0.0, 0.05}


@pytest.mark.parametrize(
    "change", [{"weight_decay": -1}, {"base_lr": "fast"}, {"lr_layer_decay": True}, {"freeze_backbone": ["x"]}]
)
def test_wrong_arguments_are_refused_and_change_nothing(change):
    model = Net()
    with pytest.raises(OptimBuildError):
        internvl.set_weight_decay_and_lr(model, **{"weight_decay": 0.05, "base_lr": 0.1, **change})
    assert all(tensor.requires_grad for tensor in model.parameters())


@pytest.mark.parametrize(
    "config", [{"TRAIN": None}, {"TRAIN": {"OPTIMIZER": 3}}, {}, {"TRAIN": {"OPTIMIZER": {"NAME": "adamx"}}}]
)
def test_a_wrong_config_is_a_config_error(config):
    with pytest.raises(ConfigError):
        internvl.build_optimizer(config, Net())


def test_the_keyword_functions_match_pieces_of_names():
    assert internvl.check_keywords_in_name("a.ls1.gamma", ("beta", "ls"))
    assert not internvl.check_keywords_in_name("a", ())
    assert internvl.check_keywords_in_dict("levels.10.w", {"levels.1": 0.1, "levels.10": 0.2}) == 0.1
    assert internvl.check_keywords_in_dict("x", {"y": 1.0}) is None
