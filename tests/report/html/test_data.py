"""What a page holds is the plan: every parameter, its setting and its steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import OptimBuildError, Plan, make_plan, optimizer
from optimbuild.report.html.data import plan_data
from tests.golden_cases import golden_inventory
from tests.random_plans import CONFIGS, inventories

RULES: list[dict[str, Any]] = [
    {"type": "no_decay"},
    {"type": "layer_decay", "ratio": 0.9},
    {"type": "dcn_lr", "factor": 0.1},
]
CONFIG: dict[str, Any] = {"optimizer": {"type": "adamw", "lr": 2e-5, "weight_decay": 0.05}, "rules": RULES}


class Stubborn(torch.optim.Optimizer):
    """Takes no step."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:
        raise RuntimeError("no")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(CONFIG, golden_inventory("internimage_t"))


def params_in(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters that the columns of a page tell, in the form of ``plan --json``."""
    shape, facts = data["shape"], data["facts"]
    found = []
    for i, name in enumerate(data["names"]):
        index = data["group"][i]
        group = None if index < 0 else data["groups"][index]
        row = {
            "name": name,
            "shape": shape["values"][shape["of"][i]],
            "aliases": data["aliases"].get(str(i), []),
            **facts["values"][facts["of"][i]],
            "frozen": group is None,
            "optimizer": group and group["optimizer"],
            "options": group and group["options"],
            "group": None if group is None else index,
        }
        found.append(row)
    return found


def written(plan: Plan) -> Any:
    """Return the data of a page as its file has it."""
    return json.loads(json.dumps(plan_data(plan, "", 1), allow_nan=False))


def test_the_parameters_of_a_page_equal_those_of_plan_json(plan: Plan) -> None:
    assert params_in(written(plan)) == json.loads(plan.to_json())["params"]


def test_the_groups_warnings_and_notes_of_a_page_equal_those_of_plan_json(plan: Plan) -> None:
    data, saved = written(plan), json.loads(plan.to_json())
    keys = ("optimizer", "options", "implementation")
    assert [{key: g[key] for key in keys} for g in data["groups"]] == [
        {key: g[key] for key in keys} for g in saved["groups"]
    ]
    assert [group["logged"] for group in data["groups"]] == list(plan.group_names)
    assert (data["warnings"], data["notes"]) == (saved["warnings"], saved["notes"])
    assert (data["fingerprint"], data["spec"]) == (saved["fingerprint"], saved["spec"])


def test_the_trace_of_each_parameter_is_what_explain_says(plan: Plan) -> None:
    data = written(plan)
    for name, trace in zip(data["names"], data["trace"], strict=True):
        told = [(step["rule"], step["why"], step["before"], step["after"]) for step in data["traces"][trace]]
        assert told == [(s.position, s.why, dict(s.before), dict(s.after)) for s in plan.explain(name)]


def test_equal_traces_are_in_a_page_once(plan: Plan) -> None:
    traces = [json.dumps(trace) for trace in written(plan)["traces"]]
    assert len(traces) < len(plan) / 3


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_columns_equal_plan_json_whatever_the_model_and_the_config(data: Any) -> None:
    inventory, config = data.draw(inventories()), data.draw(CONFIGS)
    try:
        made = make_plan(config, inventory)
    except OptimBuildError:
        return
    assert params_in(written(made)) == json.loads(made.to_json())["params"]


def test_bytes_of_parameters_add_up_to_the_memory_of_one_rank(plan: Plan) -> None:
    data = written(plan)
    each = [data["bytes"]["values"][i] for i in data["bytes"]["of"]]
    rank = plan.memory().ranks[0]
    assert [sum(column) for column in zip(*each, strict=True)] == [rank.parameters, rank.gradients, rank.state]


def test_a_state_that_cannot_be_foreseen_leaves_its_reason() -> None:
    optimizer("page_unforeseen", "tests.report.html.test_data:Stubborn")
    data = written(make_plan({"optimizer": {"type": "page_unforeseen"}}, golden_inventory("internimage_t")))
    assert data["memory"] is None
    assert data["bytes"] is None
    assert "page_unforeseen cannot be foreseen" in data["unforeseen"]


def test_columns_are_texts_that_tell_the_groups_apart(plan: Plan) -> None:
    data = written(plan)
    assert set(data["columns"]) == {"lr", "weight_decay"}
    rows = list(zip(*data["columns"].values(), strict=True))
    assert len(set(rows)) == len(plan.groups)
