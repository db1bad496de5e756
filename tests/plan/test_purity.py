"""Planning changes nothing, and gives the same plan in any process."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from yacs.config import CfgNode

from optimbuild import OptimBuildError, build_optimizer, make_plan
from optimbuild.config.dialects.yacs import defaults
from tests.golden_cases import ROOT, YACS, golden_inventory
from tests.models import Net, Tied
from tests.properties import examples
from tests.random_plans import CONFIGS, inventories

RULES = [
    {"type": "no_decay", "keywords": ["pos_embed"]},
    {"type": "layer_decay", "ratio": 0.5},
    {"type": "match", "table": {"head": {"lr_mult": 2.0, "betas": [0.8, 0.9]}}},
    {"type": "freeze", "patterns": ["stem"], "keep_norm_stats": True},
]
OWN = {"optimizer": {"type": "adamw", "lr": "1e-3", "betas": [0.9, 0.99]}, "rules": RULES}
NODE = {"RULES": [{"type": "freeze", "patterns": ["stem"], "keep_norm_stats": True}], "BETAS": [0.9, 0.99]}
YACS_CONFIG = {"TRAIN": {"BASE_LR": 1e-3, "LR_LAYER_DECAY": True, "OPTIMIZER": NODE}, "DATA": {"PATH": "x"}}


def cfg_node() -> CfgNode:
    node = defaults()
    node.merge_from_other_cfg(CfgNode(copy.deepcopy({"TRAIN": YACS_CONFIG["TRAIN"]})))
    return node


def state(model: nn.Module) -> Any:
    """Return everything of a module that planning could have touched."""
    return (
        {
            name: (id(tensor), tensor.requires_grad, tensor._version, tensor.grad)
            for name, tensor in model.named_parameters()
        },
        {name: (id(tensor), tensor._version) for name, tensor in model.named_buffers()},
        {name: (id(module), module.training, sorted(vars(module))) for name, module in model.named_modules()},
    )


def world() -> Any:
    return random.getstate(), torch.get_rng_state().tolist(), torch.get_default_dtype(), dict(os.environ), Path.cwd()


@pytest.mark.parametrize("config", [OWN, YACS_CONFIG, cfg_node()], ids=["own", "yacs", "CfgNode"])
@pytest.mark.parametrize("frozen", [False, True])
def test_planning_changes_neither_config_nor_model_nor_the_world(config, frozen):
    model = Net()
    model.blocks[0].attn.weight.requires_grad_(not frozen)
    before = copy.deepcopy(config), state(model), world()
    plan = make_plan(config, model)
    plan.explain("head.weight")
    plan.to_json()
    str(plan.fingerprint)
    assert (config, state(model), world()) == before
    assert type(config) is type(before[0])
    assert "blocks.0.attn.weight" not in plan.frozen or frozen


def test_what_comes_out_does_not_change_when_the_config_does_afterwards():
    config = copy.deepcopy(OWN)
    plan = make_plan(config, Net())
    before = plan.to_json()
    config["optimizer"]["betas"][0] = 0.1
    config["rules"][2]["table"]["head"]["betas"][0] = 0.1
    config["rules"].clear()
    assert plan.to_json() == before


def test_planning_twice_gives_equal_plans():
    model = Net()
    assert make_plan(OWN, model) == make_plan(OWN, model) == make_plan(copy.deepcopy(OWN), Net())
    assert make_plan(OWN, model).to_json() == make_plan(OWN, Net()).to_json()


@settings(max_examples=examples(60), deadline=None)
@given(CONFIGS, inventories())
def test_planning_changes_no_random_config_and_no_random_inventory(config, inventory):
    before = copy.deepcopy(config), copy.deepcopy(inventory.to_dict())
    try:
        plan = make_plan(config, inventory)
    except OptimBuildError:
        plan = None
    assert (config, inventory.to_dict()) == before
    assert plan is None or make_plan(config, inventory).to_json() == plan.to_json()


FREEZE = {"type": "freeze", "patterns": ["stem"], "keep_norm_stats": True}
FAILING: dict[str, dict[str, Any]] = {
    "unknown option": {"optimizer": {"type": "adamw", "lrr": 1}, "rules": [FREEZE]},
    "unknown rule": {"rules": [FREEZE, {"type": "nope"}]},
    "a later rule matches nothing": {"rules": [FREEZE, {"type": "freeze", "patterns": ["x"]}]},
    "everything frozen": {"rules": [FREEZE, {"type": "freeze", "patterns": ["**"]}]},
    "the optimizer refuses groups": {
        "optimizer": {"type": "LBFGS"},
        "rules": [FREEZE, {"type": "match", "table": {"head": {"lr": 0.5}}}],
    },
    "the optimizer refuses its options": {
        "optimizer": {"type": "adamw", "fused": True, "foreach": True},
        "rules": [FREEZE],
    },
    "no process group": {"zero": True, "rules": [FREEZE]},
}


@pytest.mark.parametrize("name", FAILING)
def test_a_build_that_fails_leaves_model_and_config_as_they_were(name):
    config: dict[str, Any] = {"optimizer": {"type": "adamw"}, **FAILING[name]}
    model = Net()
    before = copy.deepcopy(config), state(model)
    with pytest.raises(OptimBuildError):
        build_optimizer(config, model)
    assert (config, state(model)) == before


def test_a_build_freezes_parameters_and_leaves_the_config_unchanged():
    config, model = copy.deepcopy(OWN), Net()
    build_optimizer(config, model)
    assert config == OWN
    assert [name for name, tensor in model.named_parameters() if not tensor.requires_grad] == [
        "stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias",
    ]  # fmt: skip


# --- other processes --------------------------------------------------------------------------

PUBLISHED = ("internimage_l_22kto1k_384", "internvit_6b_linear_probing_wd")
SCRIPT = """
import json, sys
from optimbuild import make_plan
from tests.golden_cases import YACS, golden_inventory
from tests.models import Net, Tied
from tests.plan.test_purity import OWN, PUBLISHED, TIED, YACS_CONFIG
plans = [make_plan(OWN, Net()), make_plan(YACS_CONFIG, Net()), make_plan(TIED, Tied())]
for name in PUBLISHED:
    plans.append(make_plan(YACS[name]["config"], golden_inventory(YACS[name]["model"])))
print(json.dumps([[plan.fingerprint, plan.to_json(), str(plan)] for plan in plans]))
"""
TIED = {
    "optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.1},
    "rules": [
        {"type": "no_decay", "norm": False},
        {"type": "match", "table": [{"kinds": ["embedding", "norm"], "lr": 1}]},
    ],
}


def test_another_process_and_another_hash_seed_give_the_same_plans():
    here = [make_plan(OWN, Net()), make_plan(YACS_CONFIG, Net()), make_plan(TIED, Tied())]
    here += [make_plan(YACS[name]["config"], golden_inventory(YACS[name]["model"])) for name in PUBLISHED]
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "4242" else "4242"
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    there = json.loads(run.stdout.splitlines()[-1])
    assert there == [[plan.fingerprint, plan.to_json(), str(plan)] for plan in here]
