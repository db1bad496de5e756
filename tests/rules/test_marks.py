"""The rule that follows what makers of a model wrote on its tensors."""

from __future__ import annotations

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan

PARAMS = (
    ParamInfo("a", (2, 2), marks={"_optim": {"lr": 0.25, "weight_decay": 0.0}}),
    ParamInfo("b", (2, 2), marks={"_optim": {"lr": None, "weight_decay": 0.125}}),
    ParamInfo("c", (2, 2)),
)


def plan(*params: ParamInfo) -> Plan:
    config = {"optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.5}, "rules": [{"type": "marks"}]}
    return make_plan(config, Inventory(params))


def test_the_options_of_a_mark_are_set() -> None:
    found = plan(*PARAMS)
    assert [(d.lr, d.weight_decay) for d in found] == [(0.25, 0.0), (1.0, 0.125), (1.0, 0.5)]
    assert found.explain("a")[0].why == "its mark _optim"
    assert found.notes == ()


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (7, r"^rules\[0\]: a is marked with _optim = 7, which is no mapping of options"),
        ({"momentum": 0.5}, r"^rules\[0\]: adamw takes no option 'momentum'.*\(asked for by: its mark _optim\)"),
        ({"lr": -1}, r"^rules\[0\]\.lr: must be greater than or equal to 0"),
    ],
)
def test_a_mark_that_makes_no_sense_is_an_error(mark: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(ParamInfo("a", (2, 2), marks={"_optim": mark}))


def test_a_model_without_marks_has_nothing_for_the_rule() -> None:
    with pytest.raises(ConfigError, match=r"^rules\[0\]: rule 'marks' touches no parameter"):
        plan(PARAMS[2])
