"""A plan's config is found again, and proved by its plan: golden builders, shipped configs, and plans by hand."""

from __future__ import annotations

import pytest
import torch
import yaml

from optimbuild import Inventory, audit, inventory, make_plan
from optimbuild.auditing.infer.infer import Inferred, infer
from tests.auditing.published import MADE, published
from tests.auditing.test_plan_of_groups import SHIPPED
from tests.golden_cases import ROOT

LINES = 30


def proved(found: Inferred, inventory: Inventory) -> list[str]:
    """Check that a config as text makes an equal plan, and return its rules."""
    assert str(found.difference) == "no difference"
    text = str(found)
    assert text.count("\n") < LINES
    config = yaml.safe_load(text)
    assert str(make_plan(config, inventory).diff(found.plan)) == "no difference"
    return [rule["type"] for rule in config.get("rules", [])]


@pytest.mark.parametrize("name", MADE)
def test_what_a_published_builder_made_is_explained_by_few_rules(name: str) -> None:
    optimizer, model = published(name)
    found = audit(optimizer, model).infer()
    rules = proved(found, inventory(model))
    assert {"match"}.isdisjoint(rules)
    assert ("layer_decay" in rules) == (len({group["lr"] for group in optimizer.param_groups}) > 2)


@pytest.mark.parametrize("config", [name for name in SHIPPED if "yacs" not in name])
def test_the_plan_of_a_shipped_config_is_explained_by_its_own_rules(config: str) -> None:
    if "muon" in config and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has Muon since 2.9")
    model = Inventory.read(ROOT / "configs/inventories" / f"{SHIPPED[config]}.json")
    plan = make_plan(ROOT / "configs" / config, model)
    rules = proved(infer(plan), model)
    written = [rule.type for rule in plan.spec.rules]
    assert set(rules) <= {*written, "match"}
