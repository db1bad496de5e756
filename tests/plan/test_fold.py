"""Folding a whole model at once gives what folding each parameter step by step gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import Inventory, ParamInfo
from optimbuild.config.spec import RuleSpec, Spec
from optimbuild.edits import Edit, Edits
from optimbuild.errors import ConfigError
from optimbuild.plan.apply import Applied
from optimbuild.plan.base_options import Base, base_options
from optimbuild.plan.decision import Setting
from optimbuild.plan.fold import Change, Fold
from optimbuild.plan.groups import merged_settings

FACTORS = st.sampled_from([0.1, 0.5, 1.0, 3.0])
EDITS = st.builds(
    Edit,
    set=st.fixed_dictionaries({}, optional={"lr": st.sampled_from([0, 0.01, 1]), "weight_decay": FACTORS}),
    scale=st.fixed_dictionaries({}, optional={"lr": FACTORS, "weight_decay": FACTORS}),
    freeze=st.sampled_from([False, False, False, True]),
    optimizer=st.sampled_from([None, None, None, "sgd", "AdamW"]),
    why=st.sampled_from(["", "because"]),
)
ROWS = st.lists(st.tuples(st.booleans(), st.lists(st.none() | EDITS, min_size=3, max_size=3)), min_size=1, max_size=12)


def _base(kind: str = "adamw", **options: Any) -> Base:
    return base_options(Spec.of({"optimizer": {"type": kind, "lr": 0.1, "weight_decay": 0.05, **options}}))


def _rules(rows: list[list[Edit | None]]) -> list[Applied]:
    """Return one rule per column of the rows, which have one edit or None per rule."""
    model = Inventory([ParamInfo(f"p{i}", ()) for i in range(len(rows))])
    rules = []
    for position, column in enumerate(zip(*rows, strict=True)):
        edits = Edits(model)
        for param, edit in zip(model, column, strict=True):
            if edit is not None:
                edits.give([param], edit)
        rules.append(Applied(RuleSpec(type="wish"), f"rules[{position}]", edits))
    return rules


def _step_by_step(trainable: bool, row: list[Edit | None], base: Base) -> Setting:
    """Fold one parameter from what each change says, and not from what the fold returns."""
    edits = [(i, edit) for i, edit in enumerate(row) if edit is not None]
    if not trainable or any(edit.freeze for _, edit in edits):
        return Setting(True, None, None)
    named = [edit.optimizer for _, edit in edits if edit.optimizer is not None]
    kind, options = base(named[-1] if named else None)
    log: list[Change] = []
    Fold(base).setting(trainable, edits, log)
    for change in log:
        options = {**options, **{key: value for key, value in change.after.items() if key in options}}
    return Setting(False, kind.name, options)


@settings(deadline=None)
@given(ROWS, st.sampled_from(["adamw", "sgd"]))
def test_a_model_folds_as_each_of_its_parameters_does(rows, kind):
    base = _base(kind)
    settings, chosen = merged_settings([t for t, _ in rows], _rules([row for _, row in rows]), Fold(base))
    expected = [_step_by_step(trainable, row, base) for trainable, row in rows]
    assert [settings[index].key for index in chosen] == [setting.key for setting in expected]
    assert len({setting.key for setting in settings}) == len(settings)
    assert list(dict.fromkeys(chosen)) == list(range(len(settings)))  # in first-seen order


def test_equal_effects_share_a_setting_whatever_their_edit_and_reason():
    rows = [[Edit(scale={"lr": 0.5}, why="a")], [Edit(scale={"lr": 0.5}, why="b")], [Edit(set={"lr": 0.05})]]
    settings, chosen = merged_settings([True] * 3, _rules(rows), Fold(_base()))
    assert chosen == (0, 0, 0)
    assert settings[0].options["lr"] == 0.05


def test_a_value_is_coerced_and_whole_numbers_do_not_split_a_setting():
    settings, chosen = merged_settings(
        [True] * 2, _rules([[Edit(set={"lr": 1})], [Edit(set={"lr": 1.0})]]), Fold(_base())
    )
    assert chosen == (0, 0)
    assert repr(settings[0].options["lr"]) == "1.0"


@pytest.mark.parametrize("kind", ["adamw", "sgd"])  # the first checks an option alone, the second all together
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(set={"lr": -1.0}), r"rules\[0\]\.lr: must be greater than or equal to 0 \(given: -1\.0\)"),
        (Edit(scale={"lr": -1.0}, why="x"), r"rules\[0\]\.lr: .* \(given: -0\.1\) \(asked for by: x\)"),
        (Edit(scale={"lr": float("inf")}), r"rules\[0\]: cannot multiply lr, which is 0\.1, by inf"),
        (Edit(set={"learning_rate": 1.0}), r"takes no option 'learning_rate'"),
        (Edit(optimizer="nothing"), r"rules\[0\]: of the optimizer 'nothing' for this parameter: unknown optimizer"),
    ],
)
def test_what_an_optimizer_refuses_is_an_error_with_its_path(kind, edit, message):
    with pytest.raises(ConfigError, match=message):
        merged_settings([True], _rules([[edit]]), Fold(_base(kind)))
    with pytest.raises(ConfigError, match=message):
        Fold(_base(kind)).setting(True, [(0, edit)], [])


def test_a_fixed_option_stays_as_it_is():
    with pytest.raises(ConfigError, match=r"fixes weight_decay to 0\.0"):
        merged_settings(
            [True], _rules([[Edit(set={"weight_decay": 0.1})]]), Fold(_base("sgd_linear_probing", weight_decay=0.0))
        )


def test_an_optimizer_that_is_called_like_none_is_not_none():
    with pytest.raises(ConfigError, match="unknown optimizer 'None'"):
        merged_settings(
            [True] * 2, _rules([[Edit(set={"lr": 1.0})], [Edit(set={"lr": 1.0}, optimizer="None")]]), Fold(_base())
        )


def test_an_error_gives_the_reason_of_the_parameter_that_it_names():
    (rule,) = _rules([[Edit(scale={"lr": -1.0}, why="somebody")]])
    rule.edits.table.insert(1, Edit(scale={"lr": -1.0}, why="nobody"))
    rule.edits.numbers[:] = [2]
    with pytest.raises(ConfigError, match="asked for by: somebody"):
        merged_settings([True], [rule], Fold(_base()))
