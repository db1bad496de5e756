"""The difference of two plans is told by parameter and option, and grouped by distinct change."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from optimbuild import Inventory, ParamInfo, make_plan
from optimbuild.plan.diff import PlanDiff
from optimbuild.report.diff_text import diff_text

OPTIONS = st.none() | st.dictionaries(
    st.sampled_from(["lr", "weight_decay", "momentum"]), st.sampled_from([0, 0.0, 1, True, 0.5])
)
SIDES = st.dictionaries(st.sampled_from("abcde"), OPTIONS)


@given(SIDES, SIDES)
def test_a_difference_names_what_differs_and_nothing_else(before, after):
    diff = PlanDiff.between(before, after)
    assert diff.removed == tuple(name for name in before if name not in after)
    assert diff.added == tuple(name for name in after if name not in before)
    for name in before.keys() & after.keys():
        assert (name in diff.changed) == (told(before[name]) != told(after[name]))
    assert bool(diff) == bool(diff.changed or diff.removed or diff.added)
    assert bool(diff) == bool(PlanDiff.between(after, before))
    assert not PlanDiff.between(before, dict(reversed(before.items())))


def told(options: dict[str, Any] | None) -> str:
    return repr(None if options is None else sorted(options.items()))


def test_equal_numbers_of_different_types_differ():
    assert PlanDiff.between({"a": {"nesterov": True}}, {"a": {"nesterov": 1}}).changed == {"a": {"nesterov": (True, 1)}}


MODEL = Inventory(tuple(ParamInfo(f"blocks.{i}.weight", (2, 2)) for i in range(3)))


def test_a_diff_has_one_line_per_distinct_change_with_the_names():
    config = {"optimizer": {"type": "adamw", "lr": 0.1}}
    before = make_plan({**config, "rules": [{"type": "freeze", "patterns": ["blocks.0"]}]}, MODEL)
    after = make_plan(
        {"optimizer": {"type": "sgd", "lr": 0.2}},
        Inventory((*MODEL.params[:2], ParamInfo("head.weight", (2, 2)))),
    )
    lines = before.diff(after).lines()
    assert "frozen of 1 parameter: True → False: blocks.0.weight" in lines
    assert "optimizer of 1 parameter: 'adamw' → 'sgd': blocks.1.weight" in lines
    assert "lr of 1 parameter: 0.1 → 0.2: blocks.1.weight" in lines
    assert lines[-2:] == [
        "only in the first, 1 parameter: blocks.2.weight",
        "only in the second, 1 parameter: head.weight",
    ]
    assert before.diff(after).to_dict()["changed"]["blocks.1.weight"]["lr"] == {"before": 0.1, "after": 0.2}


def test_a_plan_does_not_differ_from_itself():
    plan = make_plan({"optimizer": {"type": "adamw"}, "rules": [{"type": "no_decay", "optional": True}]}, MODEL)
    assert not plan.diff(plan)
    assert str(plan.diff(plan)) == "no difference"
    assert plan.diff(plan).to_dict() == {"same": True, "changed": {}, "removed": [], "added": []}


def test_a_long_listing_of_names_is_cut():
    many = Inventory(tuple(ParamInfo(f"p{i}", (1,)) for i in range(50)))
    one, other = (make_plan({"optimizer": {"type": "adamw", "lr": lr}}, many) for lr in (0.1, 0.2))
    assert one.diff(other).lines() == [
        f"lr of 50 parameters: 0.1 → 0.2: {', '.join(f'p{i}' for i in range(20))} and 30 more"
    ]


def test_a_tensor_of_another_shape_is_a_difference():
    config = {"optimizer": {"type": "sgd", "lr": 0.1}}
    before = make_plan(config, MODEL)
    grown = Inventory((ParamInfo("blocks.0.weight", (2, 3)), *MODEL.params[1:]))
    difference = before.diff(make_plan(config, grown))
    assert str(difference) == "shape of 1 parameter: (2, 2) → (2, 3): blocks.0.weight"
    assert str(before.diff(make_plan({"optimizer": {"type": "sgd", "lr": 0.2}}, grown))).splitlines() == [
        "shape of 1 parameter: (2, 2) → (2, 3): blocks.0.weight",
        "lr of 3 parameters: 0.1 → 0.2: blocks.0.weight, blocks.1.weight, blocks.2.weight",
    ]
    assert "shape" in diff_text(before, make_plan(config, grown))
