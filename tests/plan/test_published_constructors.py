"""Parity, bit for bit, with what published constructors gave: config and inventory in, plan out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optimbuild import Plan, build_optimizer
from optimbuild.cli import main
from optimbuild.config import read_config
from optimbuild.plan.make import plan_of_reading
from tests.golden_cases import CONSTRUCTORS, MODELS, golden_inventory, module_of

BUILT = [name for name, case in CONSTRUCTORS.items() if "raises" not in case]
RAISED = [name for name, case in CONSTRUCTORS.items() if "raises" in case]
ORDERED = [name for name in BUILT if "group_order" in CONSTRUCTORS[name]]


def files(folder: Path, case: dict[str, Any]) -> list[str]:
    """Write a case's config in Python and its inventory, and return the arguments that name them."""
    config = "".join(f"{key} = {value!r}\n" for key, value in case["config"].items())
    (folder / "config.py").write_text(config)
    (folder / "model.json").write_text(json.dumps(MODELS[case["model"]]))
    ranks = ["--world-size", str(case["world_size"])] if "world_size" in case else []
    return [str(folder / "config.py"), "--model", str(folder / "model.json"), *ranks]


def planned(case: dict[str, Any]) -> Plan:
    return plan_of_reading(
        read_config(case["config"], world_size=case.get("world_size")), golden_inventory(case["model"])
    )


def trained(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the measured options of the parameters that the published code trained."""
    rows = [row for row in case["params"] if row["name"] not in case["frozen"]]
    return {row["name"]: {key: value for key, value in row.items() if key != "name"} for row in rows}


def options_of(case: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the same options of a plan's rows; a mark that a group does not have is missing."""
    keys = {key for row in case["params"] for key in row if key != "name"}
    return {
        row["name"]: {key: row["options"][key] for key in keys if key in row["options"]}
        for row in rows
        if not row["frozen"]
    }


@pytest.mark.parametrize("name", BUILT)
def test_a_published_config_gives_what_was_measured(name: str, tmp_path: Path, capsys: Any) -> None:
    case = CONSTRUCTORS[name]
    assert main(["plan", *files(tmp_path, case), "--json"]) == 0
    output = capsys.readouterr()
    plan = json.loads(output.out)
    assert options_of(case, plan["params"]) == trained(case)
    left_out = set(case.get("left_out", ()))
    assert {row["name"] for row in plan["params"] if row["frozen"]} == set(case["frozen"]) | left_out
    for parameter in left_out - set(case["frozen"]):
        assert [step.why for step in planned(case).explain(parameter)] == ["no group takes it"]
        assert "no group takes these parameters, so they are frozen" in output.err
    if "group_order" in case:
        order = [[member for member in group if member not in case["frozen"]] for group in case["group_order"]]
        assert [group["params"] for group in plan["groups"]] == order


@pytest.mark.parametrize("name", RAISED)
def test_where_the_published_constructor_raises_a_plan_does(name: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["plan", *files(tmp_path, CONSTRUCTORS[name])]) == 2
    assert capsys.readouterr().err.startswith("Error: ")


@pytest.mark.parametrize("name", ORDERED)
def test_the_optimizer_has_the_groups_in_the_published_order(name: str) -> None:
    case = CONSTRUCTORS[name]
    plan, model = planned(case), module_of(golden_inventory(case["model"]))
    optimizer = build_optimizer(plan, model)
    assert [group["param_names"] for group in optimizer.param_groups] == [list(group.params) for group in plan.groups]
    assert len(optimizer.param_groups) == len(case["group_order"])


@pytest.mark.parametrize("name", BUILT)
def test_a_saved_plan_of_a_published_config_is_read_again(name: str) -> None:
    plan = planned(CONSTRUCTORS[name])
    again = Plan.from_json(plan.to_json())
    assert (again.groups, again.fingerprint, again.settings) == (plan.groups, plan.fingerprint, plan.settings)
    assert str(again) == str(plan)


@pytest.mark.parametrize("name", [name for name in BUILT if "optim_wrapper" in CONSTRUCTORS[name]["config"]])
def test_our_constructor_gives_the_same_by_like(name: str) -> None:
    case = CONSTRUCTORS[name]
    wrapper = case["config"]["optim_wrapper"]
    keys = dict(wrapper.get("paramwise_cfg") or {})
    like = {**keys, "like": wrapper.get("constructor", "DefaultOptimWrapperConstructor")}
    ours = {**wrapper, "type": "OptimWrapper", "constructor": "optimbuild.OptimBuildConstructor", "paramwise_cfg": like}
    config = {**case["config"], "optim_wrapper": ours}
    plan = plan_of_reading(read_config(config, world_size=case.get("world_size")), golden_inventory(case["model"]))
    assert plan.fingerprint == planned(case).fingerprint
