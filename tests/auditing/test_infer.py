"""A plan's config is found again, and proved by its plan: golden builders, shipped configs, and plans by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import nn

from optimbuild import Inventory, ModelError, audit, build_optimizer, inventory, make_plan
from optimbuild.auditing.infer.infer import Inferred, infer
from tests.auditing.planted import adamw
from tests.auditing.published import ALL, MADE, published
from tests.auditing.test_plan_of_groups import SHIPPED
from tests.golden_cases import ROOT
from tests.models import CONFIG, Net

LINES = 30


def proved(found: Inferred, inventory: Inventory) -> list[str]:
    """Check that a config as text makes an equal plan, and return its rules."""
    assert str(found.difference) == "no difference"
    text = str(found)
    assert text.count("\n") < LINES
    config = yaml.safe_load(text)
    assert str(make_plan(config, inventory).diff(found.plan)) == "no difference"
    return [rule["type"] for rule in config.get("rules", [])]


def heavy(names: list[str]) -> list[Any]:
    """Mark the largest models as slow."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if "image_h" in name or "image_l" in name else name for name in names
    ]


@pytest.mark.parametrize("name", heavy(MADE))
def test_what_a_published_builder_made_is_explained_by_few_rules(name: str) -> None:
    optimizer, model = published(name)
    found = audit(optimizer, model).infer()
    rules = proved(found, inventory(model))
    assert "match" not in rules
    assert ("layer_decay" in rules) == (len({group["lr"] for group in optimizer.param_groups}) > 2)


@pytest.mark.parametrize("config", heavy([name for name in SHIPPED if "yacs" not in name]))
def test_the_plan_of_a_shipped_config_is_explained_by_its_own_rules(config: str) -> None:
    if "muon" in config and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has Muon since 2.9")
    model = Inventory.read(ROOT / "configs/inventories" / f"{SHIPPED[config]}.json")
    plan = make_plan(ROOT / "configs" / config, model)
    assert set(proved(infer(plan), model)) <= {rule.type for rule in plan.spec.rules}


@pytest.mark.parametrize("name", [name for name in ALL if name not in MADE])
def test_what_a_published_constructor_made_is_explained_too(name: str) -> None:
    optimizer, model = published(name)
    proved(audit(optimizer, model).infer(), inventory(model))


BY_HAND: dict[str, Any] = {
    "frozen": {"rules": [{"type": "freeze", "patterns": ["stem", "blocks.0"]}, {"type": "no_decay"}]},
    "frozen, statistics moving": {"rules": [{"type": "freeze", "patterns": ["stem"], "keep_norm_stats": False}]},
    "another LR": {"rules": [{"type": "match", "table": {"head": {"lr_mult": 10.0}}}]},
    "an exact LR": {"rules": [{"type": "match", "table": {"**.norm": {"lr": 0.000123456789}}}]},
    "other options": {"rules": [{"type": "match", "table": {"blocks.*.attn": {"betas": [0.8, 0.9]}}}]},
    "a mark": {"rules": [{"type": "match", "table": {"head": {"marks": {"lars_exclude": True}}}}]},
    "two optimizers": {
        "optimizers": {"sgd": {"type": "sgd", "lr": 0.1, "momentum": 0.8}},
        "rules": [{"type": "match", "table": {"blocks.{n}.mlp": {"optimizer": "sgd"}}}],
    },
}


@pytest.mark.parametrize("case", BY_HAND)
def test_the_plan_of_a_config_by_hand_is_proved(case: str) -> None:
    model = inventory(Net())
    plan = make_plan({**CONFIG, **BY_HAND[case]}, model)
    assert len(proved(infer(plan), model)) <= 2


def test_a_live_optimizer_with_layers_is_explained_by_layer_decay() -> None:
    model = Net()
    tensors = dict(model.named_parameters())
    groups = [{**g.options, "params": [tensors[name] for name in g.params]} for g in make_plan(CONFIG, model).groups]
    found = audit(adamw(groups), model).infer()
    assert proved(found, inventory(model)) == ["no_decay", "layer_decay"]
    built = audit(build_optimizer(CONFIG, model), model).infer()
    assert proved(built, inventory(model)) == ["no_decay", "layer_decay"]


def test_a_plan_that_no_config_gives_is_told_with_its_difference() -> None:
    rules = [{"type": "groups", "order": [{"name": "a"}], "members": [{"group": "a"}]}]
    found = infer(make_plan({"optimizer": CONFIG["optimizer"], "rules": rules}, Net()))
    assert found.difference
    assert "# group of 33 parameters: 'a' → None" in str(found)


def test_a_plan_that_trains_nothing_is_refused() -> None:
    model = nn.Linear(2, 2)
    optimizer = adamw(model.parameters())
    model.requires_grad_(False)
    with pytest.raises(ModelError, match="trains no parameter"):
        audit(optimizer, model).infer()
