"""The plugin passes the kit of optimbuild, and does what it says."""

from __future__ import annotations

from optimbuild import Inventory, ParamInfo, make_plan
from optimbuild.testing import check_optimizer, check_rule

MODEL = Inventory(
    (ParamInfo("token.weight", (10, 4), kinds=frozenset({"embedding"})), ParamInfo("fc.weight", (4, 4))),
)


def test_the_rule_passes_the_kit() -> None:
    check_rule("example_plugin_embedding_lr", {"factor": 0.1})


def test_the_optimizer_passes_the_kit() -> None:
    check_optimizer("example_plugin_signum", {"lr": 0.01})


def test_embeddings_get_their_own_lr() -> None:
    rule = {"type": "example_plugin_embedding_lr", "factor": 0.5}
    plan = make_plan({"optimizer": {"type": "example_plugin_signum", "lr": 0.01}, "rules": [rule]}, MODEL)
    assert {decision.name: decision.lr for decision in plan} == {"token.weight": 0.005, "fc.weight": 0.01}
