"""Knowledge that nothing used is told: marks that no rule reads, and other names of what a pattern selects."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import Inventory, ParamInfo, make_plan
from tests.models import Tied

OPTIMIZER = {"type": "adamw", "lr": 1.0, "weight_decay": 0.5}
MARKED = Inventory(
    [
        ParamInfo("a", (2, 2), marks={"_no_weight_decay": True, "lr_mul": 2}),
        ParamInfo("b", (2, 2), marks={"_optim": {"lr": 0.5}}),
        ParamInfo("c", (2, 2), marks={"lr_mul": 3}, trainable=False),
    ]
)
UNREAD = "no rule reads the mark "


@pytest.mark.parametrize(
    ("rules", "unread"),
    [
        ([], ["_no_weight_decay on a (`{type: no_decay}` does)", "lr_mul on a", "_optim on b (`{type: marks}` does)"]),
        ([{"type": "no_decay"}], ["lr_mul on a", "_optim on b (`{type: marks}` does)"]),
        ([{"type": "no_decay"}, {"type": "marks"}], ["lr_mul on a"]),
        (
            [{"type": "no_decay", "marks": False, "optional": True}, {"type": "marks"}],
            ["_no_weight_decay on a (`{type: no_decay}` does)", "lr_mul on a"],
        ),
    ],
)
def test_a_mark_that_no_rule_reads_is_a_note(rules: list[dict[str, Any]], unread: list[str]) -> None:
    notes = make_plan({"optimizer": OPTIMIZER, "rules": rules}, MARKED).notes
    assert [note.removeprefix(UNREAD) for note in notes if note.startswith(UNREAD)] == unread


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"type": "freeze", "patterns": ["embed"]}, True),
        ({"type": "freeze", "patterns": ["lm_head"]}, True),
        ({"type": "freeze", "patterns": ["re:^(embed|lm_head)"]}, False),
        ({"type": "freeze", "patterns": ["layers"]}, False),
        ({"type": "match", "table": {"embed": {"lr_mult": 0.1}}}, True),
        ({"type": "match", "table": {"**.weight": {"lr_mult": 0.1}}}, False),
    ],
)
def test_a_pattern_says_which_other_names_go_with_it(rule: dict[str, Any], told: bool) -> None:
    notes = make_plan({"optimizer": OPTIMIZER, "rules": [rule]}, Tied()).notes
    assert [note for note in notes if "embed.weight = lm_head.weight" in note] == list(notes)
    assert bool(notes) == told


class Mamba(nn.Module):
    """The parameters of a Mamba block that its makers mark."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.zeros(4, 4))
        self.D = nn.Parameter(torch.ones(2, 2))
        self.proj = nn.Linear(2, 2)
        self.A_log._no_weight_decay = True  # type: ignore[attr-defined]
        self.D._no_weight_decay = True  # type: ignore[attr-defined]


def test_no_decay_follows_the_marks_of_mamba() -> None:
    plan = make_plan({"optimizer": OPTIMIZER, "rules": [{"type": "no_decay"}]}, Mamba())
    assert {d.name: d.weight_decay for d in plan} == {"A_log": 0.0, "D": 0.0, "proj.weight": 0.5, "proj.bias": 0.0}
    assert plan.explain("A_log")[0].why == "its mark _no_weight_decay"
