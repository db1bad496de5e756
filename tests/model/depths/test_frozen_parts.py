"""Depths from names where parts are frozen: what is not trained is no layer, and nothing is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import ConfigError, build_optimizer, make_plan
from tests.properties import examples

RATIO = 0.5
CONFIG = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [{"type": "layer_decay", "ratio": RATIO}]}


class Trunk(nn.Module):
    """A patch embedding with a class token, numbered blocks, and a norm."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.patch_embed = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Sequential(*(nn.Linear(2, 2) for _ in range(4))) for _ in range(blocks))
        self.norm = nn.LayerNorm(2)


class Distilled(nn.Module):
    """A student, a frozen teacher, and what belongs to neither."""

    def __init__(self, blocks: int, teachers_blocks: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.prototypes = nn.Parameter(torch.zeros(3, 2))
        self.student = Trunk(blocks)
        if teachers_blocks:
            self.teacher = Trunk(teachers_blocks).requires_grad_(False)
        self.head = nn.Linear(2, 2)


def place(name: str) -> int | None:
    """Return the place of a parameter from input to output; None for what no evidence places."""
    parts = name.removeprefix("student.").split(".")
    if parts[0] == "blocks":
        return int(parts[1])
    return {"cls_token": -1, "patch_embed": -1, "norm": 100, "head": 100}.get(parts[0])


@st.composite
def partly_frozen(draw: Any) -> Distilled:
    """Draw a student of which some parts are frozen; two blocks or more are trained, and most of what is trained."""
    blocks = draw(st.integers(2, 6))
    model = Distilled(blocks, draw(st.sampled_from([0, 2, 9])))
    trained = draw(st.sets(st.integers(0, blocks - 1), min_size=2))
    for i, block in enumerate(model.student.blocks):
        block.requires_grad_(i in trained)
    for part in (model.student.patch_embed, model.student.norm, model.head):
        part.requires_grad_(draw(st.booleans()))
    for tensor in (model.logit_scale, model.prototypes, model.student.cls_token):
        tensor.requires_grad_(draw(st.booleans()))
    return model


@settings(max_examples=examples(150), deadline=None)
@given(partly_frozen())
def test_frozen_parts_are_no_layers_and_are_not_told_as_unclaimed(model: Distilled) -> None:
    plan = make_plan(CONFIG, model)
    trained = {name: place(name) for name, tensor in model.named_parameters() if tensor.requires_grad}
    order = sorted({found for found in trained.values() if found is not None})
    expected = {
        name: 1.0 if found is None else RATIO ** (len(order) - 1 - order.index(found))
        for name, found in trained.items()
    }
    assert {d.name: d.lr for d in plan if d.lr is not None} == expected
    unclaimed = [name for name, found in trained.items() if found is None]
    ending = [warning.rpartition(": ")[2] for warning in plan.warnings]
    assert ending == ([", ".join(unclaimed)] if unclaimed else [])
    assert "teacher" not in str(plan.notes)


def test_a_head_that_the_config_freezes_leaves_the_count_as_it_was() -> None:
    model = Distilled(3, 0)
    whole = {d.name: d.lr for d in make_plan(CONFIG, model)}
    freeze = {"type": "freeze", "patterns": ["student.norm", "head"]}
    frozen = {d.name: d.lr for d in make_plan({**CONFIG, "rules": [*CONFIG["rules"], freeze]}, model)}
    assert frozen == {name: None if place(name) == 100 else lr for name, lr in whole.items()}


@pytest.mark.parametrize("name", ["logit_scale", "log_vars", "prototypes", "pos_weight", "cls_loss_weight", "queue"])
def test_what_belongs_to_a_loss_is_not_in_the_first_layer(name: str) -> None:
    model = Trunk(3)
    model._parameters = {name: nn.Parameter(torch.zeros(3)), **model._parameters}
    plan = make_plan(CONFIG, model)
    assert (plan[name].lr, plan["cls_token"].lr) == (1.0, RATIO**4)
    assert [warning.rpartition(": ")[2] for warning in plan.warnings] == [name]


# --- towers that the config freezes -----------------------------------------------------------

REST = ["student", "head", "logit_scale", "prototypes"]
FREEZING: dict[str, dict[str, Any]] = {
    "freeze": {"type": "freeze", "patterns": ["teacher"]},
    "match": {"type": "match", "table": {"teacher": {"freeze": True}}},
    "train_only": {"type": "train_only", "patterns": REST},
}


def lrs(model: nn.Module, *rules: dict[str, Any]) -> dict[str, float | None]:
    plan = make_plan({**CONFIG, "rules": rules}, model)
    assert all("teacher" not in text for text in (*plan.warnings, *plan.notes))
    return {decision.name: decision.lr for decision in plan}


def taught(blocks: int, teachers_blocks: int) -> Distilled:
    """Return a student and a teacher that nobody has frozen yet."""
    model = Distilled(blocks, teachers_blocks)
    model.teacher.requires_grad_(True)
    return model


@pytest.mark.parametrize("teachers_blocks", [2, 3, 9])
@pytest.mark.parametrize("freezing", FREEZING)
def test_a_teacher_that_the_config_freezes_is_no_tower(freezing: str, teachers_blocks: int) -> None:
    by_hand = lrs(Distilled(3, teachers_blocks), *CONFIG["rules"])
    rules = [FREEZING[freezing], *CONFIG["rules"]]
    for order in (rules, rules[::-1]):
        assert lrs(taught(3, teachers_blocks), *order) == by_hand


@pytest.mark.parametrize("also", [["student.blocks.0"], ["student.norm", "head"], ["student.patch_embed"]])
def test_what_the_config_freezes_of_the_student_counts_as_layers(also: list[str]) -> None:
    whole = lrs(taught(3, 3), *CONFIG["rules"], FREEZING["freeze"])
    found = lrs(taught(3, 3), {"type": "freeze", "patterns": also}, *CONFIG["rules"], FREEZING["freeze"])
    frozen = {name for name in found if any(name.startswith(module) for module in also)}
    assert found == {name: None if name in frozen else lr for name, lr in whole.items()}


def test_a_tower_of_which_something_is_trained_is_one() -> None:
    with pytest.raises(ConfigError, match="several sequences"):
        lrs(taught(3, 3), *CONFIG["rules"], {"type": "freeze", "patterns": ["teacher.blocks"]})


def test_a_trunk_that_the_config_freezes_stays_where_it_is_the_only_one() -> None:
    freeze = {"type": "freeze", "patterns": ["student.blocks"]}
    whole = lrs(Distilled(3, 0), *CONFIG["rules"])
    assert lrs(Distilled(3, 0), *CONFIG["rules"], freeze) == {
        name: None if ".blocks." in name else lr for name, lr in whole.items()
    }


class Residual(nn.Module):
    """A stem, stages called ``layer1`` and so on of two blocks each, and a classifier."""

    def __init__(self, stages: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(2, 2)
        for i in range(stages):
            self.add_module(f"layer{i + 1}", nn.Sequential(Trunk(0), Trunk(0)))
        self.fc = nn.Linear(2, 2)


def test_frozen_stages_of_a_trunk_are_no_tower() -> None:
    model = nn.ModuleDict({"teacher": Residual(), "student": Residual()})
    freeze = [{"type": "freeze", "patterns": [name]} for name in ("teacher", "student.layer1")]
    rule = {**CONFIG["rules"][0]}
    found = {d.name: d.lr for d in make_plan({**CONFIG, "rules": [rule, *freeze]}, model)}
    assert found["student.stem.weight"] == RATIO**7
    assert found["student.layer2.0.norm.weight"] == RATIO**4
    alone = {d.name: d.lr for d in make_plan({**CONFIG, "rules": [rule]}, Residual())}
    assert {n.removeprefix("student."): lr for n, lr in found.items() if lr is not None} == {
        name: lr for name, lr in alone.items() if not name.startswith("layer1")
    }


def test_what_the_config_unfreezes_later_gets_its_layer() -> None:
    model = taught(3, 3)
    rules = [*CONFIG["rules"], FREEZING["freeze"], {"type": "freeze", "patterns": ["student.blocks.0"]}]
    optimizer = build_optimizer({**CONFIG, "rules": rules}, model)
    model.student.blocks[0].requires_grad_(True)
    optimizer.add_param_group({"params": list(model.student.blocks[0].parameters())})
    assert optimizer.param_groups[-1]["lr"] == RATIO**3
    assert optimizer.plan.explain("student.blocks.1.0.weight")[0].why == "layer 2 of 5, 2 from the top"  # type: ignore[attr-defined]


class Telling(Trunk):
    """A trunk that tells its depths."""

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        return (int(name.split(".")[1]) + 1 if name.startswith("blocks") else 0, len(self.blocks) + 1)


def test_a_teacher_that_tells_its_depths_and_is_frozen_is_not_asked() -> None:
    model = nn.ModuleDict({"teacher": Telling(4), "student": Telling(3), "head": nn.Linear(2, 2)})
    freeze = {"type": "freeze", "patterns": ["teacher", "head"]}
    for rules in ([freeze, *CONFIG["rules"]], [*CONFIG["rules"], freeze]):
        plan = make_plan({**CONFIG, "rules": rules}, model)
        assert plan["student.blocks.0.0.weight"].lr == RATIO**2
        assert not any("head" in text or "teacher" in text for text in (*plan.notes, *plan.warnings))
