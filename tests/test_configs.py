"""The ready configs plan the published models, alike in both dialects."""

from __future__ import annotations

import json
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
