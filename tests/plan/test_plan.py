"""The plan is a value: it is looked up, explained, compared, saved and read again, and an altered one is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optimbuild import Inventory, ModelError, OptimBuildError, ParamInfo, Plan, make_plan
from optimbuild.plan.plan_file import checksum
from tests.golden_cases import YACS, golden_inventory
from tests.properties import examples
from tests.random_plans import CONFIGS, inventories

MODEL = Inventory(
    (
        ParamInfo("embed.weight", (8, 4), aliases=("head.weight",), kinds=frozenset({"embedding"})),
        ParamInfo("blocks.0.fc.weight", (4, 4)),
        ParamInfo("blocks.0.fc.bias", (4,)),
        ParamInfo("blocks.1.fc.weight", (4, 4), trainable=False),
        ParamInfo("blocks.1.fc.bias", (4,)),
    ),
    model="Net",
)
CONFIG = {
    "optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.5},
    "rules": [
        {"type": "no_decay"},
        {"type": "layer_decay", "ratio": 0.5, "layers": ["embed", "blocks.{n}"]},
        {"type": "freeze", "patterns": ["blocks.0.fc.weight"]},
    ],
}
PLAN = make_plan(CONFIG, MODEL)


def drawn_plan(config: Any, inventory: Inventory) -> Plan:
    try:
        return make_plan(config, inventory)
    except OptimBuildError as error:
        assume("every parameter is frozen" not in str(error))
        raise


# --- looking up ------------------------------------------------------------------------------


def test_a_plan_has_one_decision_a_parameter_in_model_order():
    assert len(PLAN) == 5
    assert [decision.name for decision in PLAN] == [param.name for param in MODEL]
    assert [decision.lr for decision in PLAN] == [0.25, None, 0.5, None, 1.0]
    assert [decision.weight_decay for decision in PLAN] == [0.5, None, 0.0, None, 0.0]
    assert [decision.group for decision in PLAN] == [0, None, 1, None, 2]
    assert [decision.optimizer for decision in PLAN] == ["adamw", None, "adamw", None, "adamw"]
    assert PLAN.frozen == ("blocks.0.fc.weight", "blocks.1.fc.weight")


def test_a_parameter_is_found_by_its_name_or_an_alias():
    assert PLAN["head.weight"] == PLAN["embed.weight"]
    assert "head.weight" in PLAN
    assert "nowhere" not in PLAN
    for look_up in (PLAN.__getitem__, PLAN.explain):
        with pytest.raises(
            ModelError, match=r"Net has no parameter 'blocks\.0\.fc\.wieght'\. Closest: blocks\.0\.fc\.weight"
        ):
            look_up("blocks.0.fc.wieght")


def test_groups_hold_equal_settings_in_first_seen_order_and_every_option():
    assert [group.params for group in PLAN.groups] == [("embed.weight",), ("blocks.0.fc.bias",), ("blocks.1.fc.bias",)]
    assert [group.numel for group in PLAN.groups] == [32, 4, 4]
    assert {tuple(group.options) for group in PLAN.groups} == {
        ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "capturable", "differentiable")
    }


@settings(max_examples=examples(150), deadline=None)
@given(CONFIGS, inventories())
def test_a_plans_groups_hold_each_trainable_parameter_once_and_no_frozen(config, inventory):
    plan = drawn_plan(config, inventory)
    grouped = [name for group in plan.groups for name in group.params]
    assert sorted([*grouped, *plan.frozen]) == sorted(param.name for param in inventory)
    assert len({(g.optimizer, repr(sorted(g.options.items()))) for g in plan.groups}) == len(plan.groups)
    first = [group.params[0] for group in plan.groups]
    assert first == sorted(first, key=[param.name for param in inventory].index)
    for decision in plan:
        assert decision.frozen == (decision.options is None) == (decision.group is None)
        assert decision.frozen or decision.options == plan.groups[decision.group].options
        assert decision.frozen or not decision.param.trainable or decision.name in plan.groups[decision.group].params
        assert decision.param.trainable or decision.frozen


def test_a_fixed_option_is_shown_for_every_parameter():
    plan = make_plan({"optimizer": {"type": "sgd_linear_probing", "lr": 0.1}}, MODEL)
    for decision in plan:
        if not decision.frozen:
            assert {**decision.options} | {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0} == decision.options


# --- explaining ------------------------------------------------------------------------------


def test_every_step_names_rule_position_reason_and_change():
    assert [str(step) for step in PLAN.explain("blocks.0.fc.bias")] == [
        "no_decay: weight_decay: 0.5 → 0.0 (bias)",
        "layer_decay: lr: 1.0 → 0.5 (layer 1 of 3, 1 from the top)",
    ]
    assert [step.position for step in PLAN.explain("blocks.0.fc.bias")] == [0, 1]
    assert str(PLAN.explain("blocks.0.fc.weight")[-1]) == "freeze: frozen: False → True (pattern 'blocks.0.fc.weight')"
    assert PLAN.explain("blocks.1.fc.weight") == ()


@settings(max_examples=examples(100), deadline=None)
@given(CONFIGS, inventories())
def test_the_last_step_about_an_option_is_what_was_decided(config, inventory):
    plan = drawn_plan(config, inventory)
    for decision in plan:
        told = {}
        for step in plan.explain(decision.name):
            told |= step.after
        assert told.pop("frozen", False) == (decision.frozen and decision.param.trainable)
        assert decision.frozen or told.items() <= decision.options.items()


def test_rules_that_changed_nothing_are_no_steps():
    plan = make_plan({"optimizer": {"type": "sgd", "lr": 1.0}, "rules": [{"type": "no_decay"}]}, MODEL)
    assert plan.explain("blocks.0.fc.bias") == ()


# --- fingerprint ------------------------------------------------------------------------------


def test_the_fingerprint_depends_on_the_settings_and_not_on_their_wording():
    def fingerprint(model: Inventory = MODEL, **change: Any) -> str:
        return make_plan({**CONFIG, **change}, model).fingerprint

    same = [
        fingerprint(optimizer={"type": "AdamW", "lr": "1.0", "weight_decay": 0.5, "eps": 1e-8}),
        fingerprint(implementation="for-loop"),
        fingerprint(rules=[*CONFIG["rules"], {"type": "no_decay"}]),
        fingerprint(dataclasses.replace(MODEL, model="Other")),
    ]
    assert set(same) == {PLAN.fingerprint}
    others = [
        fingerprint(optimizer={"type": "adamw", "lr": 1.0, "weight_decay": 0.25}),
        fingerprint(optimizer={"type": "adamw", "lr": 1.0, "weight_decay": 0.5, "amsgrad": True}),
        fingerprint(rules=CONFIG["rules"][:2]),
        fingerprint(Inventory((*MODEL.params, ParamInfo("more", (1,))))),
        fingerprint(Inventory((MODEL.params[0]._replace(shape=(8, 5)), *MODEL.params[1:]))),
        fingerprint(Inventory((MODEL.params[0]._replace(aliases=("x",)), *MODEL.params[1:]))),
    ]
    assert len({PLAN.fingerprint, *others[:5]}) == 6
    assert others[5] == PLAN.fingerprint


# --- JSON -------------------------------------------------------------------------------------


@settings(max_examples=examples(120), deadline=None)
@given(CONFIGS, inventories())
def test_a_plan_survives_json(config, inventory):
    plan = drawn_plan(config, inventory)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    assert again.to_json() == plan.to_json()
    assert again.groups == plan.groups
    assert list(again) == list(plan)
    assert not again.diff(plan)
    assert [again.explain(p.name) for p in inventory] == [plan.explain(p.name) for p in inventory]


@pytest.mark.parametrize("name", sorted(set(YACS) - {"unknown_optimizer"}))
def test_the_plan_of_a_published_model_survives_json(name):
    plan = make_plan(YACS[name]["config"], golden_inventory(YACS[name]["model"]))
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.explain(plan.groups[0].params[0]) == plan.explain(plan.groups[0].params[0])


def test_the_json_has_the_promised_keys():
    data = json.loads(PLAN.to_json())
    assert data["fingerprint"] == PLAN.fingerprint
    assert data["optimizer"]["type"] == "adamw"
    assert data["optimizer"]["options"]["betas"] == [0.9, 0.999]
    first, second = data["params"][:2]
    assert (first["name"], first["shape"], first["frozen"], first["optimizer"], first["group"], first["aliases"]) == (
        "embed.weight", [8, 4], False, "adamw", 0, ["head.weight"],
    )  # fmt: skip
    assert first["options"]["lr"] == 0.25
    assert (second["frozen"], second["optimizer"], second["options"], second["group"]) == (True, None, None, None)
    assert [group["params"] for group in data["groups"]] == [list(group.params) for group in PLAN.groups]
    assert data["groups"][0]["numel"] == 32
    assert data["warnings"] == []


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything in JSON data that is no container, or an empty one."""
    items = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [leaf for key, value in items for leaf in leaves(value, (*path, key))] or [path]


SAVED = json.loads(PLAN.to_json())
ALTERED = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just([])
    | st.just({})
)


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from(leaves(SAVED)), ALTERED)
def test_an_altered_plan_is_refused_wherever_it_was_altered(path, value):
    data = json.loads(PLAN.to_json())
    node = data
    for key in path[:-1]:
        node = node[key]
    assume(json.dumps(node[path[-1]]) != json.dumps(value))
    node[path[-1]] = value
    with pytest.raises(ModelError, match=r"^(the plan was altered|not a plan)"):
        Plan.from_json(json.dumps(data))


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from([leaf for leaf in leaves(SAVED) if leaf[0] in ("params", "fingerprint")]), ALTERED)
def test_an_altered_plan_with_a_forged_checksum_never_gives_other_settings(path, value):
    data = json.loads(PLAN.to_json())
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    del data["checksum"]
    try:
        again = Plan.from_json(json.dumps({**data, "checksum": checksum(data)}))
    except ModelError:
        again = PLAN
    assert again.fingerprint == PLAN.fingerprint
    assert not again.diff(PLAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "3",
        "null",
        "not JSON",
        '{"version": 2}',
        '{"version": 1}',
        "[" * 100_000,
        '{"version": 1, "params": 3}',
    ],
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(ModelError, match=r"not a plan|altered"):
        Plan.from_json(text)


def test_the_order_of_keys_and_the_spacing_do_not_matter():
    shuffled = json.dumps(dict(reversed(SAVED.items())), indent=2)
    assert Plan.from_json(shuffled) == PLAN


def test_a_module_is_explained_where_all_steps_in_it_are_equal():
    model = Inventory([ParamInfo(name, (4,)) for name in ("stem.a", "stem.b", "head.a", "head.bias")])
    rules = [
        {"type": "match", "table": {"head.a": {"lr_mult": 0.1}}},
        {"type": "match", "table": {"stem": {"lr": 1.0}}},
    ]
    made = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}, "rules": rules}, model)
    assert made.explain("stem") == made.explain("stem.{a,b}") == made.explain("stem.a") != ()
    with pytest.raises(ModelError, match=r"^'head' is 2 parameters whose steps differ, such as head\.a, head\.bias; "):
        made.explain("head")
    with pytest.raises(ModelError, match="has no parameter 'neck'"):
        made.explain("neck")
