"""The LR factor of deformable convolutions."""

from __future__ import annotations

from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan
from optimbuild.rules.dcn_lr import KEYWORDS

BLOCKS = [f"blocks.{i}.dcn.{part}.weight" for i in range(2) for part in ("offset", "attention_weights", "value")]
MODEL = Inventory(tuple(ParamInfo(name, (2, 2)) for name in ("stem.weight", *BLOCKS, "head.weight")), model="Net")
DCN = {"type": "dcn_lr", "factor": 0.1}
DECAY = {"type": "layer_decay", "ratio": 0.9}


def plan(*rules: dict[str, Any], model: Inventory = MODEL) -> Plan:
    return make_plan({"optimizer": {"type": "adamw", "lr": 0.3, "weight_decay": 0.5}, "rules": list(rules)}, model)


def lrs(found: Plan) -> dict[str, float | None]:
    return {decision.name: decision.lr for decision in found}


def steers(name: str) -> bool:
    return "offset" in name or "attention_weights" in name


def test_the_dcn_lr_factor_applies_where_a_keyword_is_part_of_the_name() -> None:
    found = plan(DCN)
    assert lrs(found) == {param.name: 0.3 * 0.1 if steers(param.name) else 0.3 for param in MODEL}
    assert {decision.weight_decay for decision in found} == {0.5}


def test_with_layer_decay_both_factors_count() -> None:
    decayed = lrs(plan(DECAY))
    assert len(set(decayed.values())) == 4
    assert lrs(plan(DECAY, DCN)) == {name: lr * 0.1 if steers(name) else lr for name, lr in decayed.items()}


def test_each_step_says_which_keyword_it_was() -> None:
    reasons = {name: [step.why for step in plan(DCN).explain(name)] for name in BLOCKS[:3]}
    assert list(reasons.values()) == [["name contains 'offset'"], ["name contains 'attention_weights'"], []]


def test_the_keywords_are_those_of_internimage_and_need_not_all_occur() -> None:
    assert KEYWORDS == ("offset", "attention_weights", "center_feature_scale_proj", "alpha_beta")
    assert plan(DCN).warnings == ()
    assert lrs(plan({**DCN, "keywords": list(KEYWORDS)})) == lrs(plan(DCN))


def test_other_keywords_replace_those_of_internimage() -> None:
    found = plan({**DCN, "keywords": ["value", "head"]})
    assert {name for name, lr in lrs(found).items() if lr != 0.3} == {BLOCKS[2], BLOCKS[5], "head.weight"}


@pytest.mark.parametrize("keywords", [["value", "mask"], ["mask"]])
def test_a_given_keyword_that_is_in_no_name_is_an_error(keywords: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"^rules\[0\]\.keywords\[{len(keywords) - 1}\]: 'mask' matches no"):
        plan({**DCN, "keywords": keywords})


def test_a_model_without_deformable_convolutions_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^rules\[0\]: rule 'dcn_lr' touches no parameter of Plain"):
        plan(DCN, model=Inventory((ParamInfo("fc.weight", (2, 2)),), model="Plain"))


def test_an_alias_counts_as_well() -> None:
    tied = Inventory((ParamInfo("shared.weight", (2, 2), aliases=("dcn.offset.weight",)), ParamInfo("fc", (2, 2))))
    assert lrs(plan(DCN, model=tied)) == {"shared.weight": 0.3 * 0.1, "fc": 0.3}


@pytest.mark.parametrize("factor", [0, -0.1, float("nan"), float("inf"), "slow", None])
def test_a_factor_is_a_positive_number(factor: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        plan({**DCN, "factor": factor})
    assert caught.value.path == "rules[0].factor"
