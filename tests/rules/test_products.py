"""Factors of all pieces that a name contains, multiplied."""

from __future__ import annotations

from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan

MODEL = Inventory(
    (
        ParamInfo("backbone.norm.weight", (4,), aliases=("head.tied",)),
        ParamInfo("backbone.fc.weight", (4, 4)),
        ParamInfo("neck.fc.weight", (4, 4)),
    )
)


def plan(table: dict[str, Any]) -> Plan:
    optimizer = {"type": "sgd", "lr": 0.3, "weight_decay": 0.7}
    return make_plan({"optimizer": optimizer, "rules": [{"type": "products", "table": table}]}, MODEL)


def test_all_pieces_count_and_their_product_comes_first() -> None:
    made = plan({"backbone": {"lr_mult": 0.1}, "norm": {"lr_mult": 0.7, "decay_mult": 0.3}, "weight": {"lr_mult": 3}})
    assert [d.lr for d in made] == [0.3 * (0.1 * 0.7 * 3.0), 0.3 * (0.1 * 3.0), 0.3 * 3.0]
    assert [d.weight_decay for d in made] == [0.7 * 0.3, 0.7, 0.7]
    assert made.explain("backbone.norm.weight")[0].why == "name contains backbone, norm, weight"


def test_a_name_has_base_in_front_and_only_the_first_name_counts() -> None:
    made = plan({"base.neck": {"lr_mult": 2}, "tied": {"lr_mult": 5}})
    assert [d.lr for d in made] == [0.3, 0.3, 0.6]
    assert any("in no name, so they do nothing: tied" in warning for warning in made.warnings)


def test_what_is_not_read_is_told() -> None:
    assert any("weight.lr" in warning for warning in plan({"weight": {"lr": 1, "lr_mult": 2}}).warnings)


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least 1 item") as caught:
        plan({})
    assert caught.value.path == "rules[0].table"


@pytest.mark.parametrize("factors", [0.1, {"lr_mult": -1}, {"decay_mult": "x"}])
def test_a_wrong_factor_is_an_error_only_where_its_piece_is_in_a_name(factors: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        plan({"neck": factors})
    assert caught.value.path.startswith("rules[0].table.neck")
    assert plan({"neck": {"lr_mult": 1}, "absent": factors})
