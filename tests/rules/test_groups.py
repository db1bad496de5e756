"""Named groups in a fixed order: who is in them, what an empty one has, and what happens to the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ConfigError, Inventory, ModelError, ParamInfo, Plan, build_optimizer, make_plan
from optimbuild.build.part import restricted
from optimbuild.model.survey import survey

BASE = {"type": "sgd", "lr": 0.1, "weight_decay": 0.5}
ORDER = [{"name": "weights"}, {"name": "unused", "lr_mult": 3.0}, {"name": "biases", "weight_decay": 0.0}]
MEMBERS = [{"group": "biases", "params": ["bias"]}, {"group": "weights", "params": ["weight"]}]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(1))


def rule(**options: Any) -> dict[str, Any]:
    return {"type": "groups", "order": ORDER, "members": MEMBERS, **options}


def plan(*more: dict[str, Any], model: Any = None, **options: Any) -> Plan:
    return make_plan({"optimizer": BASE, "rules": [rule(**options), *more]}, Net() if model is None else model)


def members(made: Plan) -> list[tuple[str, list[str]]]:
    return [(group.name, list(group.params)) for group in made.groups]


def test_groups_come_in_their_order_and_others_behind() -> None:
    assert members(plan()) == [
        ("weights", ["stem.weight", "norm.weight", "head.weight"]),
        ("unused", []),
        ("biases", ["stem.bias", "norm.bias", "head.bias"]),
        ("", ["scale"]),
    ]


def test_an_empty_group_has_its_options_and_reaches_the_optimizer() -> None:
    optimizer = build_optimizer({"optimizer": BASE, "rules": [rule()]}, Net())
    assert [len(group["params"]) for group in optimizer.param_groups] == [3, 0, 3, 1]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1 * 3.0, 0.1, 0.1]
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_optimizer_with_an_empty_group_takes_a_step(optimizer: str) -> None:
    model = Net()
    built = build_optimizer({"optimizer": {**BASE, "type": optimizer}, "rules": [rule()]}, model)
    before = model.head.weight.clone()
    model.head(torch.ones(1, 4)).sum().backward()
    built.step()
    assert not torch.equal(before, model.head.weight)


def test_what_no_entry_takes_is_frozen_where_that_is_asked_for() -> None:
    made = plan(rest="freeze")
    assert made.frozen == ("scale",)
    assert any("so they are frozen: scale" in warning for warning in made.warnings)
    assert [step.why for step in made.explain("scale")] == ["no group takes it"]


def test_equal_settings_in_groups_of_two_names_stay_apart() -> None:
    order = [{"name": "weights"}, {"name": "biases"}]
    assert [name for name, _ in members(plan(order=order, rest="freeze"))] == ["weights", "biases"]


def test_the_first_module_is_the_models_and_the_last_is_what_is_left() -> None:
    order = [{"name": name} for name in ("first", "last", "others")]
    entries = [
        {"group": "first", "params": ["bias"], "classes": ["Linear"], "pick": "of_first_module"},
        {"group": "last", "params": ["weight"], "classes": ["Linear"], "pick": "last"},
        {"group": "others"},
    ]
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2), nn.Linear(2, 2))
    found = members(plan(model=model, order=order, members=entries))
    assert found == [("first", []), ("last", ["2.weight"]), ("others", ["0.weight", "1.weight", "1.bias", "2.bias"])]


def test_a_later_rule_that_splits_a_group_is_told() -> None:
    made = plan({"type": "match", "table": {"head": {"lr_mult": 0.5}}}, rest="freeze")
    assert members(made)[:3] == [
        ("weights", ["stem.weight", "norm.weight"]),
        ("unused", []),
        ("biases", ["stem.bias", "norm.bias"]),
    ]
    assert [warning for warning in made.warnings if "the group 'weights' is split" in warning]


def test_a_saved_plan_with_a_split_group_is_read_again() -> None:
    made = plan({"type": "match", "table": {"head": {"lr_mult": 0.5}, "norm": {"freeze": True}}})
    again = Plan.from_json(made.to_json())
    assert (again.fingerprint, again.groups, again.settings) == (made.fingerprint, made.groups, made.settings)


def test_named_groups_without_any_parameter_are_nothing_to_optimize() -> None:
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        plan({"type": "freeze", "patterns": ["**"]})


def test_a_later_rule_that_changes_all_alike_leaves_the_order() -> None:
    made = plan({"type": "match", "table": {"**": {"lr_mult": 0.5}}}, rest="freeze")
    assert [name for name, _ in members(made)] == ["weights", "unused", "biases"]
    assert not [warning for warning in made.warnings if "split" in warning]


def test_a_plan_of_a_part_keeps_the_named_groups_at_their_places() -> None:
    model = Net()
    part, _ = restricted(plan(model=model), survey(nn.ModuleDict({"head": model.head})))
    assert members(part) == [("weights", ["head.weight"]), ("unused", []), ("biases", ["head.bias"])]


def test_the_order_is_in_report_and_fingerprint_and_the_names_in_the_diff() -> None:
    made, reversed_order = plan(), plan(order=ORDER[::-1])
    assert "unused" in str(made)
    assert "in this order: weights, unused, biases" in "\n".join(made.notes)
    assert made.fingerprint != reversed_order.fingerprint
    without = make_plan({"optimizer": BASE}, Net())
    assert without.diff(made).changed["head.weight"] == {"group": (None, "weights")}


def test_a_module_that_no_group_has_a_place_for_is_refused_on_demand() -> None:
    leaves = Inventory(
        (ParamInfo("a.weight", (2, 2), owner="Linear"), ParamInfo("a.table", (2,)), ParamInfo("b.tail.gain", (2,)))
    )
    entries = [{"group": "weights", "params": ["weight"]}]
    with pytest.raises(ModelError, match=r"no place for the parameters of a .*: a\.table, b\.tail\.gain"):
        plan(model=leaves, members=entries, refuse_other_modules=True)
    above = Inventory((ParamInfo("a.weight", (2, 2)), ParamInfo("token", (2,)), ParamInfo("b.weight", (2,))))
    made = plan(model=above, members=entries, refuse_other_modules=True, rest="freeze")
    assert made.frozen == ("token",)


def test_a_module_with_others_inside_is_no_leaf_whatever_these_hold() -> None:
    block = nn.PReLU()
    block.drop = nn.Dropout()  # type: ignore[assignment]
    model = nn.Sequential(nn.Linear(2, 2), block)
    entries = [{"group": "weights", "classes": ["Linear"]}]
    for seen in (model, Inventory.from_dict(survey(model).inventory.to_dict())):
        assert plan(model=seen, members=entries, refuse_other_modules=True, rest="freeze").frozen == ("1.weight",)


def test_a_shared_module_inside_shows_that_another_is_no_leaf() -> None:
    block = nn.PReLU()
    model = nn.Sequential(nn.Linear(2, 2), block)
    block.inner = model[0]  # type: ignore[assignment]
    entries = [{"group": "weights", "classes": ["Linear"]}]
    assert plan(model=model, members=entries, refuse_other_modules=True, rest="freeze").frozen == ("1.weight",)


def test_a_module_of_a_group_that_is_no_leaf_is_refused_on_demand() -> None:
    outer = nn.Linear(2, 2)
    outer.inner = nn.Linear(2, 2)  # type: ignore[assignment]
    entries = [{"group": "weights", "classes": ["Linear"]}]
    with pytest.raises(ModelError, match=r"not for one with further modules inside: weight, bias$"):
        plan(model=outer, members=entries, refuse_other_modules=True)


def test_a_class_of_torch_is_told_from_another_of_its_name() -> None:
    namesake = type("Linear", (nn.Bilinear,), {})(2, 2, 2)
    model = nn.Sequential(nn.Linear(2, 2), namesake, type("Own", (nn.Linear,), {})(2, 2))
    torchs = plan(model=model, members=[{"group": "weights", "classes": ["torch.nn.Linear"]}], rest="freeze")
    assert torchs.frozen == ("1.weight", "1.bias")
    assert not plan(model=model, members=[{"group": "weights", "classes": ["Linear"]}], rest="freeze").frozen


def test_an_entry_that_is_needed_must_find_something() -> None:
    entries = [{"group": "weights", "params": ["kernel"], "needed": True}]
    with pytest.raises(ModelError, match="has no parameter for the group 'weights': called kernel"):
        plan(members=entries)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": [{"group": "weihgts"}]}, r"members\[0\] is of the group 'weihgts', which is not in `order`"),
        ({"order": [*ORDER, {"name": "weights"}]}, "is in `order` twice"),
        ({"order": [{"name": "weights", "lr_mul": 2}, *ORDER[1:]]}, "Did you mean 'lr_mult'"),
        ({"order": []}, "order"),
        ({"order": [{"name": "weights", "momentun": 0.5}, *ORDER[1:]]}, "takes no option 'momentun'"),
    ],
)
def test_a_wrong_option_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**options)
