"""The ready configs plan the published models, alike in both dialects."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from optimbuild import make_plan

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PUBLISHED = {
    "internimage_t_1k_224": "internimage_t",
    "internimage_l_22kto1k_384": "internimage_l",
    "internimage_h_22kto1k_640": "internimage_h",
    "internvit_6b_1k_224": "internvit_6b_frozen",
}
"""A published model's ready config, and the inventory that it is for."""


def inventory(name: str) -> Path:
    return CONFIGS / "inventories" / f"{PUBLISHED[name]}.json"


def test_every_published_config_is_tried_here():
    assert {path.name.removesuffix(".yacs.yaml") for path in CONFIGS.glob("*.yacs.yaml")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_both_dialects_give_every_parameter_the_same(name: str):
    own = make_plan(CONFIGS / f"{name}.yaml", inventory(name))
    yacs = make_plan(CONFIGS / f"{name}.yacs.yaml", inventory(name))
    assert str(own.diff(yacs)) == "no difference"
    assert (own.spec.zero, own.spec.implementation) == (yacs.spec.zero, yacs.spec.implementation)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_plan_is_what_the_published_builder_gave(name: str):
    plan = make_plan(CONFIGS / f"{name}.yaml", inventory(name))
    measured = json.loads((ROOT / "tests/golden/cases" / f"{name}.json").read_text("utf-8"))
    given = [(p["name"], p["lr"], p["weight_decay"]) for p in measured["params"]]
    frozen = set(plan.frozen)
    assert [(p.name, p.lr, p.weight_decay) for p in plan if p.name not in frozen] == given
    assert frozen == set(measured["frozen"])
    for option, value in measured["optimizer"]["defaults"].items():
        expected = tuple(value) if isinstance(value, list) else value
        assert all(group.options[option] == expected for group in plan.groups), option


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_are_the_same_with_and_without_quirks(name: str):
    plan = make_plan(CONFIGS / f"{name}.yacs.yaml", inventory(name))
    quirks = make_plan(
        CONFIGS / f"{name}.yacs.yaml", inventory(name), overrides=("TRAIN.OPTIMIZER.REFERENCE_QUIRKS=true",)
    )
    assert str(plan.diff(quirks)) == "no difference"


TRAINED_BY = {
    "llama_1b": {"adamw": 146},
    "llama_1b_muon": {"adamw": 34, "muon": 112},
    "llama_1b_lora_plus": {"adamw": 64, None: 146},
    "qwen_moe": {"adamw": 387},
    "qwen_moe_muon": {"adamw": 219, "muon": 168},
    "vit_l": {"adamw": 392},
    "vit_l_muon": {"adamw": 248, "muon": 144},
    "clip_b": {"adamw": 398},
    "clip_b_muon": {"adamw": 254, "muon": 144},
}
"""For ready configs of models of Hugging Face how many tensors each optimizer trains; None for the frozen ones."""


@pytest.mark.parametrize("name", TRAINED_BY)
def test_the_configs_of_language_and_vision_models_route_as_they_say(name: str):
    config = CONFIGS / f"{name}.yaml"
    (model,) = re.findall(r"^# Plan it with: --model (\S+)$", config.read_text("utf-8"), re.MULTILINE)
    plan = make_plan(config, ROOT / model)
    assert Counter(decision.optimizer for decision in plan) == TRAINED_BY[name]
    assert plan.warnings == ()
    for decision in plan:
        if decision.optimizer == "muon":
            assert len(decision.param.shape) == 2
            assert not {"output", "router"} & plan.inventory.routing_kinds[decision.name].keys()


def test_lora_plus_gives_b_sixteen_times_the_learning_rate_of_a():
    plan = make_plan(CONFIGS / "llama_1b_lora_plus.yaml", CONFIGS / "inventories" / "llama_1b_lora.json")
    rates = {part: {d.lr for d in plan if f".{part}." in d.name} for part in ("lora_A", "lora_B")}
    assert rates == {"lora_A": {2e-4}, "lora_B": {16 * 2e-4}}
