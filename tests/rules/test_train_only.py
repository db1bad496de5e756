"""Training some parts of a model: everything else is frozen, and its batch norms keep their statistics."""

from __future__ import annotations

from typing import Any

import pytest

from optimbuild import ConfigError, Plan, build_optimizer, make_plan
from tests.models import Net


def plan(**options: Any) -> Plan:
    rules = [{"type": "train_only", **options}]
    return make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": rules}, Net())


def test_only_what_the_patterns_name_is_trained() -> None:
    found = plan(patterns=["head", "blocks.{0..1}.norm"])
    trained = {decision.name for decision in found if not decision.frozen}
    assert trained == {
        f"{module}.{name}" for module in ("head", "blocks.0.norm", "blocks.1.norm") for name in ("weight", "bias")
    }
    assert str(found.explain("pos_embed")[0]).endswith("(outside of head, blocks.{0..1}.norm)")


def test_patterns_that_name_everything_freeze_nothing() -> None:
    assert plan(patterns=["**"]).frozen == ()


@pytest.mark.parametrize("keep", [True, False])
def test_batch_norms_outside_keep_their_statistics_unless_they_may_change(keep: bool) -> None:
    model = Net()
    rules = [{"type": "train_only", "patterns": ["head"], "keep_norm_stats": keep}]
    build_optimizer({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": rules}, model)
    assert model.train().stem[1].training != keep


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["heads"], r"^rules\[0\]\.patterns\[0\]: 'heads' matches no parameter"),
        ([], r"^rules\[0\]: a rule that trains only a part needs `patterns`, `modules`, or both"),
        (["head", "{"], r"^rules\[0\]\.patterns\[1\]: "),
    ],
)
def test_a_pattern_that_trains_nothing_is_an_error(patterns: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(patterns=patterns)


def test_a_regular_expression_trains_modules_by_their_whole_names() -> None:
    found = plan(modules=[r"blocks\.\d\.norm", "(?i)HEAD$"])
    trained = {decision.name for decision in found if not decision.frozen}
    assert trained == {*[n for n in found.inventory.names if n.startswith("head.") or ".norm." in n]}


def test_a_regular_expression_that_is_no_modules_whole_name_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^rules\[0\]\.modules\[0\]: 'hea' matches no parameter"):
        plan(modules=["hea"])
    with pytest.raises(ConfigError, match=r"^rules\[0\]\.modules\[0\]: is not a regular expression"):
        plan(modules=["("])


def test_what_is_inside_several_modules_is_trained_once_and_noted() -> None:
    notes = plan(modules=["blocks.0", "blocks.0.norm"]).notes
    assert any("and trained once: blocks.0.norm.weight, blocks.0.norm.bias" in note for note in notes)
