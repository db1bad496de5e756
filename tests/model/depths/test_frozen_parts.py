"""Depths from names where parts are frozen: what is not trained is no layer, and nothing is said of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import make_plan
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
