"""The published semantics on plain names and shapes; the measured cases are in ``tests/test_parity.py``."""

from __future__ import annotations

from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ModelError, ParamInfo, Plan, make_plan
from optimbuild.model.hints import Hints


def matrix(name: str, **more: Any) -> ParamInfo:
    return ParamInfo(name, (2, 2), **more)


def plan(*params: ParamInfo, hooks: Hints | None = None, **options: Any) -> Plan:
    config = {
        "optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.5},
        "rules": [{"type": "internvl_reference", **options}],
    }
    return make_plan(config, Inventory(params, hooks or Hints()))


def spared(found: Plan) -> list[str]:
    return [decision.name for decision in found if decision.weight_decay == 0.0]


def test_exactly_one_dimension_or_the_end_of_the_name_spares_weight_decay() -> None:
    found = plan(
        ParamInfo("gamma", (2,)),
        matrix("fc.bias"),
        ParamInfo("scale", ()),
        matrix("bias"),
        matrix("norm.weight", owner="LayerNorm", kinds=frozenset({"norm"})),
        matrix("fc.bias_table"),
    )
    assert spared(found) == ["gamma", "fc.bias"]


HINTS = Hints({"no_weight_decay": ["pos_embed"], "no_weight_decay_keywords": ["rpb"]})
HINTED = (matrix("pos_embed"), matrix("pos_embed2"), matrix("attn.rpb.table"), matrix("cls"), matrix("fc.weight"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["pos_embed", "attn.rpb.table"]),
        ({"no_decay_names": None, "no_decay_keywords": None}, ["pos_embed", "attn.rpb.table"]),
        ({"no_decay_names": [], "no_decay_keywords": []}, []),
        ({"no_decay_names": ["cls"]}, ["attn.rpb.table", "cls"]),
        ({"no_decay_keywords": ["embed"]}, ["pos_embed", "pos_embed2"]),
    ],
)
def test_the_model_says_what_else_is_spared_unless_the_config_does(
    options: dict[str, Any], expected: list[str]
) -> None:
    assert spared(plan(*HINTED, hooks=HINTS, **options)) == expected


def test_names_that_are_not_there_are_no_error_as_published() -> None:
    assert plan(*HINTED, no_decay_names=["absent"], no_decay_keywords=["absent"]).warnings == ()


def test_a_published_level_is_part_of_the_name_so_1_freezes_level_10_too() -> None:
    names = ("levels.0.w", "levels.1.w", "levels.10.w", "sublevels.1.w", "levels.2.w")
    assert plan(*map(matrix, names), freeze_levels=[1]).frozen == names[1:4]


def test_the_first_keyword_that_is_a_piece_of_the_name_gives_the_lr_factor() -> None:
    hooks = Hints(live={"lr_decay_keywords": lambda ratio: {"blocks.1": ratio, "blocks.10": 0.125, "fc": 0.0625}})
    found = plan(*map(matrix, ("blocks.1.fc", "blocks.10.fc", "fc", "head")), hooks=hooks, layer_decay_ratio=0.5)
    assert [decision.lr for decision in found] == [0.5, 0.5, 0.0625, 1.0]
    assert found.notes == ()


def test_without_a_ratio_the_model_is_not_asked_for_factors() -> None:
    hooks = Hints({"lr_decay_keywords": {"0.5": {"fc": 0.5}}})
    assert [decision.lr for decision in plan(matrix("fc"), hooks=hooks)] == [1.0]


def test_a_model_without_the_hook_is_an_error_that_names_the_other_rule() -> None:
    with pytest.raises(ModelError, match=r"needs lr_decay_keywords\(ratio\).*rule layer_decay"):
        plan(matrix("blocks.0.w"), layer_decay_ratio=0.5)


def test_aliases_are_not_looked_at() -> None:
    tied = matrix("embed.weight", aliases=("levels.1.rpb.bias",))
    found = plan(tied, matrix("fc"), hooks=HINTS, freeze_levels=[1])
    assert (found.frozen, spared(found)) == ((), [])


def test_each_step_says_what_the_published_code_does() -> None:
    hooks = Hints({"lr_decay_keywords": {"0.5": {"levels": 0.25}}})
    params = (ParamInfo("levels.0.bias", (2,)), ParamInfo("levels.1.bias", (2,)), matrix("levels.0.w"), matrix("head"))
    found = plan(*params, hooks=hooks, layer_decay_ratio=0.5, freeze_levels=[1])
    assert [[step.why for step in found.explain(param.name)] for param in params] == [
        ["published code: LR factor 0.25, no weight decay"],
        ["published code: LR factor 0.25, no weight decay, frozen level"],
        ["published code: LR factor 0.25"],
        [],
    ]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"layer_decay_ratio": -0.5}, "layer_decay_ratio"),
        ({"layer_decay_ratio": float("nan")}, "layer_decay_ratio"),
        ({"freeze_levels": ["one"]}, "freeze_levels[0]"),
        ({"no_decay_names": "pos_embed"}, "no_decay_names"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_path(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(matrix("fc"), **options)
    assert caught.value.path == f"rules[0].{where}"
