"""What an audit reads from the groups of a built optimizer is what its plan says, for shipped and random configs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import Inventory, OptimBuildError, Plan, audit, build_optimizer, make_plan
from tests.golden_cases import ROOT, module_of
from tests.random_plans import CONFIGS, inventories

SHIPPED = {
    "clip_b.yaml": "clip_b",
    "clip_b_muon.yaml": "clip_b",
    "internimage_h_22kto1k_640.yaml": "internimage_h",
    "internimage_h_22kto1k_640.yacs.yaml": "internimage_h",
    "internimage_l_22kto1k_384.yaml": "internimage_l",
    "internimage_l_22kto1k_384.yacs.yaml": "internimage_l",
    "internimage_t_1k_224.yaml": "internimage_t",
    "internimage_t_1k_224.yacs.yaml": "internimage_t",
    "internimage_t_finetune.yaml": "internimage_t",
    "internvit_6b_1k_224.yaml": "internvit_6b_frozen",
    "internvit_6b_1k_224.yacs.yaml": "internvit_6b_frozen",
    "llama_1b.yaml": "llama_1b",
    "llama_1b_lora_plus.yaml": "llama_1b_lora",
    "llama_1b_muon.yaml": "llama_1b",
    "qwen_moe.yaml": "qwen_moe",
    "qwen_moe_muon.yaml": "qwen_moe",
    "vit_l.yaml": "vit_l",
    "vit_l_muon.yaml": "vit_l",
}
"""The shipped configs with an inventory; the others are those of examples/, whose models are small."""


def built_on(config: Any, model: nn.Module) -> tuple[torch.optim.Optimizer, Plan]:
    """Build without ZeRO, which needs ranks, and return the plan too."""
    plan = make_plan(config, model)
    spec = plan.spec.model_copy(update={"zero": False})
    optimizer = build_optimizer(spec, model)
    return optimizer, optimizer.plan  # type: ignore[attr-defined]


def forget(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Take the plan away, so that an audit knows no more of the optimizer than of anybody's."""
    del optimizer.plan  # type: ignore[attr-defined]
    return optimizer


def settings_of(plan: Plan) -> dict[str, Any]:
    return {decision.name: (decision.optimizer, decision.options) for decision in plan}


def test_every_shipped_config_with_an_inventory_is_tried_here():
    others = {path.name for path in (ROOT / "configs").glob("*.yaml")} - set(SHIPPED)
    assert others == {
        "digits_vit.yaml",
        "digits_vit_muon.yaml",
        "digits_vit_zero.yaml",
        "language.yaml",
        "language_muon.yaml",
    }


@pytest.mark.parametrize("config", SHIPPED)
def test_a_shipped_config_is_read_back_and_has_no_finding(config: str):
    if "muon" in config and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has Muon since 2.9")
    model = module_of(Inventory.read(ROOT / "configs/inventories" / f"{SHIPPED[config]}.json"))
    optimizer, plan = built_on(ROOT / "configs" / config, model)
    found = audit(optimizer, model)
    assert [str(finding) for finding in found.findings] == []
    assert found.plan is plan
    bare = audit(forget(optimizer), model).plan
    assert str(bare.diff(plan)) == "no difference"


def check_random(inventory: Inventory, config: dict[str, Any]) -> None:
    model = module_of(inventory).to_empty(device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            optimizer, plan = built_on(config, model)
        except OptimBuildError:
            assume(False)
    found = audit(optimizer, model)
    assert settings_of(found.plan) == settings_of(plan)
    assert found.plan.fingerprint == plan.fingerprint
    unsound = {"lr-zero", "decay-on-norm", "decay-on-bias", "decay-on-gain", "decay-on-embedding", "decay-on-marked"}
    assert {finding.id for finding in found.findings} <= unsound
    bare = audit(forget(optimizer), model).plan
    diff = {name: dict(changes) for name, changes in bare.diff(plan).changed.items()}
    assert {key for changes in diff.values() for key in changes} <= {"optimizer"}  # sgd by another name


RANDOM = [HealthCheck.filter_too_much, HealthCheck.too_slow]


@settings(max_examples=40, deadline=None, suppress_health_check=RANDOM)
@given(st.data())
def test_a_random_config_is_read_back(data: Any):
    check_random(data.draw(inventories()), data.draw(CONFIGS))


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=RANDOM)
@given(st.data())
def test_200_random_configs_are_read_back(data: Any):
    check_random(data.draw(inventories()), data.draw(CONFIGS))
