"""The ordered table from patterns and kinds to options."""

from __future__ import annotations

from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan

MODEL = Inventory(
    (
        ParamInfo("embed.weight", (8, 4), kinds=frozenset({"embedding"})),
        ParamInfo("backbone.fc.weight", (4, 4), kinds=frozenset({"linear"})),
        ParamInfo("backbone.fc.bias", (4,), kinds=frozenset({"linear", "bias"})),
        ParamInfo("backbone.norm.weight", (4,), kinds=frozenset({"norm"})),
        ParamInfo("neck.norm.weight", (4,), kinds=frozenset({"norm"})),
        ParamInfo("neck.fc.weight", (4, 4), kinds=frozenset({"linear"}), aliases=("head.weight",)),
    ),
    model="Net",
)
NAMES = [param.name for param in MODEL]


def plan(table: Any, optimizer: str = "adamw", **more: Any) -> Plan:
    config = {"optimizer": {"type": optimizer, "lr": 1.0, "weight_decay": 0.5}, "rules": [{"type": "match", **more}]}
    config["rules"][0]["table"] = table
    return make_plan(config, MODEL)


def touched(found: Plan, option: str = "lr", untouched: Any = 1.0) -> dict[str, Any]:
    """Return what the parameters have that have something else than the rest."""
    return {d.name: d.options[option] for d in found if d.options is not None and d.options[option] != untouched}


def test_the_first_entry_that_matches_counts_and_no_other_one() -> None:
    found = plan({"backbone.norm": {"lr_mult": 0.5}, "backbone": {"lr_mult": 0.25, "decay_mult": 0.0}})
    assert touched(found) == {
        "backbone.fc.weight": 0.25,
        "backbone.fc.bias": 0.25,
        "backbone.norm.weight": 0.5,
    }
    assert found["backbone.norm.weight"].weight_decay == 0.5
    assert [step.why for step in found.explain("backbone.norm.weight")] == ["pattern 'backbone.norm'"]


def test_an_entry_without_options_exempts_what_it_matches() -> None:
    assert touched(plan({"backbone.norm": {}, "backbone": {"lr": 0.1}})) == {
        "backbone.fc.weight": 0.1,
        "backbone.fc.bias": 0.1,
    }


def test_kinds_may_replace_a_pattern_and_any_of_them_is_enough() -> None:
    found = plan([{"kinds": ["embedding", "norm"], "lr_mult": 0.5}])
    assert touched(found) == {"embed.weight": 0.5, "backbone.norm.weight": 0.5, "neck.norm.weight": 0.5}
    assert found.explain("embed.weight")[0].why == "kinds embedding, norm"


def test_kinds_beside_a_pattern_narrow_it() -> None:
    as_list = plan([{"pattern": "neck", "kinds": ["norm"], "lr": 0.1}])
    as_mapping = plan({"neck": {"kinds": ["norm"], "lr": 0.1}})
    assert touched(as_list) == touched(as_mapping) == {"neck.norm.weight": 0.1}
    assert as_list.explain("neck.norm.weight")[0].why == "pattern 'neck' and kinds norm"


def test_the_mapping_is_short_for_the_list() -> None:
    as_mapping = plan({"neck": {"lr": 0.1}, "**.norm": {"decay_mult": 0.0}})
    as_list = plan([{"pattern": "neck", "lr": 0.1}, {"pattern": "**.norm", "decay_mult": 0.0}])
    assert as_mapping.diff(as_list).lines() == []
    assert [d.options for d in as_mapping] == [d.options for d in as_list]


def test_factors_multiply_what_the_entry_itself_sets() -> None:
    found = plan({"neck": {"lr": 0.3, "lr_mult": 0.1, "weight_decay": 0.2, "decay_mult": 0.7}})
    assert (found["neck.fc.weight"].lr, found["neck.fc.weight"].weight_decay) == (0.3 * 0.1, 0.2 * 0.7)


def test_a_factor_of_zero_is_a_factor() -> None:
    found = plan({"neck": {"lr_mult": 0, "decay_mult": 0}})
    assert (found["neck.fc.weight"].lr, found["neck.fc.weight"].weight_decay) == (0.0, 0.0)


def test_any_option_of_the_optimizer_may_be_given() -> None:
    betas = plan({"neck": {"betas": [0.5, 0.75], "eps": "1e-4"}})
    assert touched(betas, "betas", (0.9, 0.999)) == dict.fromkeys(NAMES[4:], (0.5, 0.75))
    assert touched(betas, "eps", 1e-8) == dict.fromkeys(NAMES[4:], 1e-4)
    momentum = plan({"neck": {"momentum": 0.25}}, "sgd")
    assert touched(momentum, "momentum", 0.9) == dict.fromkeys(NAMES[4:], 0.25)


def test_an_entry_may_freeze() -> None:
    assert plan({"backbone.norm": {}, "backbone": {"freeze": True}}).frozen == (
        "backbone.fc.weight",
        "backbone.fc.bias",
    )


def test_an_alias_counts_as_well() -> None:
    assert touched(plan({"head": {"lr": 0.1}})) == {"neck.fc.weight": 0.1}


def test_an_entry_that_earlier_ones_leave_nothing_to_is_a_warning() -> None:
    found = plan([{"kinds": ["norm"], "lr": 0.1}, {"pattern": "neck.norm", "lr": 0.2}, {"pattern": "neck", "lr": 0.3}])
    assert found.warnings == (
        "rules[0] (match): table[1] ('neck.norm') does nothing: table[0] takes all that it matches",
    )
    assert touched(found) == {"backbone.norm.weight": 0.1, "neck.norm.weight": 0.1, "neck.fc.weight": 0.3}


def test_a_shadowed_entry_that_only_marks_is_a_warning_too() -> None:
    found = plan({"neck": {}, "neck.norm": {"marks": {"fix_lr": True}}})
    told = "rules[0] (match): table['neck.norm'] ('neck.norm') does nothing: table.neck takes all that it matches"
    assert found.warnings == (told,)
    assert not any("fix_lr" in group.options for group in found.groups)


def test_an_idle_entry_is_named_by_the_key_that_the_user_wrote() -> None:
    found = plan({"neck": {"lr": 0.3}, "neck.norm": {"lr": 0.2}, "head": {"lr": 0.1}})
    told = "rules[0] (match): table['neck.norm'] ('neck.norm') does nothing: table.neck takes all that it matches"
    assert found.warnings[0] == told


@pytest.mark.parametrize(
    ("table", "path", "message"),
    [
        ({"neck": {"momentum": 0.9}}, "rules[0]", "momentum"),
        ({"neck": {}, "embed": {"betaz": [0.5, 0.5]}}, "rules[0]", "'betas'"),
        ({"neck": {"lr_mul": 0.1}}, "rules[0].table.neck", "Did you mean 'lr_mult'?"),
        ([{"pattern": "neck", "kind": ["norm"]}], "rules[0].table[0]", "Did you mean 'kinds'?"),
        ([{"pattern": "neck", "kinds": ["nrm"]}], "rules[0].table[0].kinds[0]", "'norm'"),
        ([{"lr": 0.1}], "rules[0].table[0]", "an entry needs a `pattern`, `kinds`, or both"),
        (
            [{"pattern": "neck", "kinds": ["conv"]}],
            "rules[0].table[0]",
            "pattern 'neck' and kinds conv matches no parameter.",
        ),
        ({"neck": {"pattern": "embed"}}, "rules[0].table", "'neck' is the pattern already"),
        ({"neck": 0.1}, "rules[0].table", "what stands under 'neck' must be a mapping of options"),
        ({"neck": {"lr_mult": -1}}, "rules[0].table.neck.lr_mult", "must be"),
        ({"neck": {"decay_mult": float("nan")}}, "rules[0].table.neck.decay_mult", "must be"),
        ({"neck": {"lr": -1.0}}, "rules[0].lr", "-1.0"),
        ({"neck": {"freeze": "maybe"}}, "rules[0].table.neck.freeze", "must be"),
        ({"ne..ck": {}}, "rules[0].table['ne..ck']", "no empty segment"),
        ({"neck": {}, "nick": {}}, "rules[0].table.nick", "'nick' matches no parameter"),
        ({"neck": {}, "**.nick": {}}, "rules[0].table['**.nick']", "'**.nick' matches no parameter"),
        ([{"pattern": "nick"}], "rules[0].table[0]", "'nick' matches no parameter"),
        ({}, "rules[0]", "the table is empty"),
        ([], "rules[0]", "the table is empty"),
        ("neck", "rules[0].table", "must be a mapping from pattern to options, or a list of entries"),
    ],
)
def test_a_wrong_entry_is_an_error_with_its_path(table: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(table)
    assert caught.value.path == path
    assert message in str(caught.value)


def test_marks_are_entries_of_a_group_that_the_optimizer_does_not_take() -> None:
    found = plan({"*": {"marks": {"fix_lr": True, "note": [1, 2]}}})
    assert {(d.options or {})["fix_lr"] for d in found} == {True}
    assert found.groups[0].options["note"] == (1, 2)
    assert "fix_lr: None → True" in str(found.explain(next(iter(found)).name)[0])
    for key in ("lr", "params", "initial_lr"):
        with pytest.raises(ConfigError, match=f"'{key}' cannot be a mark"):
            plan({"*": {"marks": {key: 1.0}}})
