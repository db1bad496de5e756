"""Edits fold in the order of the rules: set replaces, scale multiplies, freeze is final, and each change is a step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import ConfigError, Edit, Edits, Inventory, ParamInfo, make_plan
from tests.properties import examples
from tests.wishes import BASE, MODEL, always, on_a, rules_that

DEFAULTS = {"betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False, "maximize": False, "capturable": False}
START = {"lr": 0.5, "weight_decay": 0.25, **DEFAULTS, "differentiable": False}

NUMBERS = st.floats(0, 4, allow_subnormal=False) | st.integers(0, 3)
EDITS = st.builds(
    Edit,
    set=st.fixed_dictionaries(
        {},
        optional={
            "lr": NUMBERS,
            "weight_decay": NUMBERS,
            "eps": NUMBERS,
            "amsgrad": st.booleans(),
            "betas": st.sampled_from([[0.5, 0.75], (0.9, 0.999)]),
        },
    ),
    scale=st.fixed_dictionaries({}, optional={"lr": NUMBERS, "weight_decay": NUMBERS, "eps": NUMBERS}),
    freeze=st.integers(0, 9).map(lambda n: n == 0),
    why=st.sampled_from(["", "because"]),
)


def folded(edits: list[Edit]) -> dict[str, Any] | None:
    """Say literally what a sequence of edits makes of the base options; None is frozen."""
    options: dict[str, Any] = dict(START)
    for edit in edits:
        options |= edit.set
        for option, factor in edit.scale.items():
            options[option] = options[option] * factor
    return None if any(edit.freeze for edit in edits) else {**options, "betas": tuple(options["betas"])}


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(EDITS, max_size=4))
def test_set_replaces_scale_multiplies_and_freeze_is_final(edits):
    config = rules_that(*map(on_a, edits))
    config["rules"] = [{**rule, "optional": True} for rule in config["rules"]]
    plan = make_plan(config, MODEL)
    assert plan["a.weight"].options == folded(edits)
    assert plan["b.weight"].options == START
    if plan["a.weight"].options is not None:
        assert {k: type(v) for k, v in plan["a.weight"].options.items()} == {k: type(v) for k, v in START.items()}


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(EDITS, max_size=4))
def test_the_steps_lead_from_base_options_to_decision_with_an_effect_each(edits):
    config = rules_that(*map(on_a, edits))
    plan = make_plan({**config, "strict": False}, MODEL)
    options, frozen = dict(START), False
    for step in plan.explain("a.weight"):
        assert not frozen
        assert step.before.keys() == step.after.keys()
        assert all(repr(step.before[key]) != repr(step.after[key]) for key in step.after)
        assert edits[step.position].why == step.why
        assert {**options, "frozen": False} | dict(step.before) == {**options, "frozen": False}
        options |= {key: value for key, value in step.after.items() if key != "frozen"}
        frozen = step.after.get("frozen", False)
    assert frozen == plan["a.weight"].frozen
    assert frozen or options == plan["a.weight"].options


def test_rules_for_learning_rate_and_weight_decay_are_independent():
    plan = make_plan(
        rules_that(
            always(Edit(set={"weight_decay": 0.0})), on_a(Edit(scale={"lr": 0.5})), always(Edit(scale={"lr": 0.5}))
        ),
        MODEL,
    )
    assert [(d.lr, d.weight_decay) for d in plan] == [(0.125, 0.0), (0.25, 0.0), (0.25, 0.0)]


def test_equal_settings_share_a_group_whatever_rule_gave_them():
    plan = make_plan(
        rules_that(on_a(Edit(set={"lr": 1})), lambda param: Edit(scale={"lr": 2.0}) if "bias" in param.name else None),
        MODEL,
    )
    assert [group.params for group in plan.groups] == [("a.weight", "b.bias"), ("b.weight",)]
    assert [group.options["lr"] for group in plan.groups] == [1.0, 0.5]


@pytest.mark.parametrize("value", [0, 0.0, "0", False])
def test_a_value_equal_to_the_base_value_is_still_checked_and_coerced(value):
    config = {**rules_that(on_a(Edit(set={"weight_decay": value}))), "optimizer": {**BASE, "weight_decay": 0.0}}
    if value is False:
        with pytest.raises(ConfigError, match=r"^rules\[0\]\.weight_decay: must be a number, not a truth value"):
            make_plan(config, MODEL)
    else:
        plan = make_plan(config, MODEL)
        assert len(plan.groups) == 1
        assert plan.explain("a.weight") == ()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(set={"momentum": 0.9}), "rules[0]: adamw takes no option 'momentum'."),
        (Edit(scale={"lr_": 0.9}), "rules[0]: adamw takes no option 'lr_'. Did you mean 'lr'?"),
        (Edit(set={"lr": -1}), "rules[0].lr: must be greater than or equal to 0 (given: -1)"),
        (Edit(set={"lr": "fast"}), "rules[0].lr: must be a number (given: 'fast')"),
        (Edit(set={"lr": float("nan")}), "rules[0].lr: must be a finite number, not nan"),
        (Edit(set={"lr": None}), "rules[0].lr: must be a number (given: None)"),
        (Edit(set={"betas": [0.9]}), "rules[0].betas: needs more than 1 item"),
        (Edit(set={"betas": [0.9, 1.0]}), "rules[0].betas[1]: must be less than 1 (given: 1.0)"),
        (Edit(set={"lr": print}), "rules[0].lr: must be plain data"),
        (Edit(scale={"lr": -1.0}), "rules[0].lr: must be greater than or equal to 0 (given: -0.5)"),
        (Edit(scale={"lr": 1e308}, set={"lr": 1e308}), "rules[0].lr: must be a finite number (given: inf)"),
        (Edit(scale={"lr": float("inf")}), "rules[0]: cannot multiply lr, which is 0.5, by inf"),
        (Edit(scale={"lr": "x"}), "rules[0]: cannot multiply lr, which is 0.5, by 'x'"),
        (Edit(scale={"lr": True}), "rules[0]: cannot multiply lr, which is 0.5, by True"),
        (Edit(scale={"betas": 2.0}), "rules[0]: cannot multiply betas, which is (0.9, 0.999), by 2.0"),
        (Edit(scale={"amsgrad": 2.0}), "rules[0]: cannot multiply amsgrad, which is False, by 2.0"),
        (Edit(set=None), "rules[0]: the rule's Edit has set=None; it must map options to values"),
        (Edit(set=["lr"]), "rules[0]: the rule's Edit has set=['lr']; it must map options to values"),
        (Edit(scale={1: 2.0}), "rules[0]: the rule's Edit has scale={1: 2.0}; it must map options to values"),
        (Edit(freeze="yes"), "`freeze` must be a truth value, `why` a text"),
        (Edit(why=3), "`freeze` must be a truth value, `why` a text"),
        (Edit(optimizer=3), "rules[0]: the rule's Edit has optimizer=3; it must be a registered name"),
        (Edit(optimizer="sdg"), "rules[0]: of the optimizer 'sdg' for this parameter: unknown optimizer 'sdg'."),
        (0.5, "rules[0]: rule 'wish_0' must return an Edit or None, not 0.5"),
        ({"lr": 1}, "rules[0]: rule 'wish_0' must return an Edit or None, not {'lr': 1}"),
    ],
)  # fmt: skip
def test_an_edit_that_makes_no_sense_is_an_error_at_the_rules_path(edit, message):
    with pytest.raises(ConfigError) as caught:
        make_plan(rules_that(on_a(edit)), MODEL)
    assert message in str(caught.value)
    assert str(caught.value).startswith("rules[0]")


def test_an_error_says_what_the_rule_wanted_it_for():
    with pytest.raises(ConfigError, match=r"^rules\[1\]\.lr: .* \(asked for by: the head is fast\)$"):
        make_plan(rules_that(always(Edit()), on_a(Edit(set={"lr": -1}, why="the head is fast"))), MODEL)


def test_edits_of_frozen_parameters_are_checked_too():
    frozen = Inventory((ParamInfo("a.weight", (2, 2), trainable=False), ParamInfo("b.weight", (2, 2))))
    with pytest.raises(ConfigError, match="adamw takes no option 'momentum'"):
        make_plan(rules_that(on_a(Edit(set={"momentum": 0.9}))), frozen)


# --- another optimizer for some parameters ---------------------------------------------------


def test_another_optimizer_has_its_defaults_and_the_options_that_both_know():
    plan = make_plan(rules_that(on_a(Edit(optimizer="SGD", set={"momentum": 0.5}, why="large"))), MODEL)
    assert (plan["a.weight"].optimizer, plan["b.weight"].optimizer) == ("sgd", "adamw")
    options = plan["a.weight"].options
    assert (options["lr"], options["weight_decay"], options["momentum"], options["nesterov"]) == (0.5, 0.25, 0.5, True)
    assert "betas" not in options
    assert str(plan.explain("a.weight")[0]) == "wish_0: optimizer: 'adamw' → 'sgd', momentum: 0.9 → 0.5 (large)"
    assert [group.optimizer for group in plan.groups] == ["sgd", "adamw"]


def test_the_last_named_optimizer_counts_and_earlier_edits_apply_to_it():
    edits = (Edit(optimizer="sgd", scale={"lr": 0.5}), Edit(scale={"lr": 0.5}), Edit(optimizer="sgd_linear_probing"))
    plan = make_plan(rules_that(*map(on_a, edits)), MODEL)
    decision = plan["a.weight"]
    assert (decision.optimizer, decision.lr, decision.weight_decay) == ("sgd_linear_probing", 0.125, 0.0)
    steps = plan.explain("a.weight")
    assert [(step.before.get("optimizer"), step.after.get("optimizer")) for step in steps] == [
        ("adamw", "sgd"),
        (None, None),
        ("sgd", "sgd_linear_probing"),
    ]


def test_naming_the_optimizer_that_it_has_anyway_is_no_step():
    plan = make_plan(rules_that(on_a(Edit(optimizer="AdamW"))), MODEL)
    assert plan.explain("a.weight") == ()
    assert len(plan.groups) == 1


def test_a_rule_may_not_change_what_an_optimizer_fixes_and_is_told_so():
    config = rules_that(on_a(Edit(set={"momentum": 0.5}, why="heavy")))
    config["optimizer"] = {"type": "sgd_linear_probing", "lr": 0.1}
    with pytest.raises(ConfigError) as caught:
        make_plan(config, MODEL)
    assert str(caught.value) == (
        "rules[0].momentum: sgd_linear_probing fixes momentum to 0.9; 0.5 was asked for. "
        "Leave it out, or choose another optimizer. (asked for by: heavy)"
    )
    for edit in (Edit(set={"momentum": 0.9}), Edit(scale={"weight_decay": 3.0}), Edit(set={"nesterov": False})):
        config["rules"] = rules_that(on_a(edit))["rules"]
        assert make_plan(config, MODEL)["a.weight"].options["momentum"] == 0.9


def test_the_first_edit_of_a_parameter_counts():
    first, second = Edit(freeze=True), Edit(scale={"lr": 0.5})
    edits = Edits(MODEL)
    assert not edits
    assert edits.give(MODEL.containing("a."), first) == 1
    assert edits.give(MODEL, second) == 2
    assert edits.give(iter(MODEL), Edit()) == 0
    assert [edits[param.name] for param in MODEL] == [first, second, second]
    assert edits


def test_edits_answer_by_an_alias_as_well():
    model = Inventory((ParamInfo("a", (2,), aliases=("b",)), ParamInfo("c", (2,))))
    edits = Edits(model)
    edits.give([model["b"]], Edit(why="shared"))
    assert edits["a"] is edits["b"]
    assert edits["c"] is None


@pytest.mark.parametrize("who", [ParamInfo("nowhere", (2,)), "nowhere", 7])
def test_an_edit_for_what_is_no_parameter_is_an_error(who):
    edits = Edits(MODEL)
    for found in ([who], iter([who]), (MODEL["a.weight"], who)):
        with pytest.raises(ConfigError, match="which names no parameter"):
            edits.give(found, Edit())


@pytest.mark.parametrize("many", [list, iter, dict.fromkeys])
def test_an_edit_for_names_is_an_error_that_shows_how_to_write_it(many):
    with pytest.raises(ConfigError, match=r"has edits for the name 'a\.weight', .* write model\['a\.weight'\]"):
        Edits(MODEL).give(many(["a.weight"]), Edit())


@pytest.mark.parametrize("who", ["a.weight", MODEL["a.weight"], 7, None])
def test_an_edit_is_given_to_a_list_of_parameters(who):
    with pytest.raises(ConfigError, match="an edit is given to a list of parameters of the model"):
        Edits(MODEL).give(who, Edit())


@pytest.mark.parametrize(("second", "taken_by"), [(Edit(scale={"lr": 0.1}), ("first",)), (Edit(freeze=True), ())])
def test_an_option_knows_which_earlier_ones_take_everything(second, taken_by):
    edits = Edits(MODEL)
    edits.give(MODEL, Edit(freeze=True, why="all"), "first")
    edits.give(MODEL, second, "second")
    assert [asked.taken_by for asked in edits.asked] == [(), taken_by]
