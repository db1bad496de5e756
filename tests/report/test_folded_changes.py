"""A difference of two plans fits on a screen, and its rows hold every change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from optimbuild import Inventory, ParamInfo, Plan, make_plan
from optimbuild.report import diff_text
from optimbuild.report.diff_text import diff_lines

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
NAMES = [f"blocks.{i}.{leaf}" for i in range(6) for leaf in ("weight", "bias")]
MODEL = Inventory([ParamInfo(name, (4, 4) if "weight" in name else (4,)) for name in [*NAMES, "head.weight"]])
LAYERS = {"type": "layer_decay", "ratio": 0.5, "layers": ["blocks.{n}", "head"]}


def plan(*rules: dict[str, Any], model: Any = MODEL) -> Plan:
    return make_plan({"optimizer": {"type": "adamw", "lr": 1e-3}, "rules": list(rules)}, model)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of the table, without its heading."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.split("\n\n")[1].splitlines()[1:]]


def test_two_ladders_of_a_flagship_fit_on_a_screen_and_hold_all_tensors():
    model = Inventory.read(GOLDEN / "internimage_h.json")
    plans = [
        plan({"type": "layer_decay", "ratio": ratio}, {"type": "dcn_lr", "factor": 0.1}, model=model)
        for ratio in (0.9, 0.8)
    ]
    folded, changes = [diff_text(*plans, width=160, folded=folded) for folded in (True, False)]
    assert len(folded.splitlines()) <= 40 < len(changes.splitlines())
    changed = plans[0].diff(plans[1]).changed
    assert {sum(int(row[3]) for row in rows(text)) for text in (folded, changes)} == {len(changed)}


def test_layers_of_one_plan_share_a_row_whichever_side_they_are_on():
    flat, layers = plan(), plan(LAYERS)
    assert rows(diff_text(flat, layers)) == [["lr", "1.00e-03", "1.56e-05 … 5.00e-04", "12", "blocks.{0..5}"]]
    assert rows(diff_text(layers, flat)) == [["lr", "1.56e-05 … 5.00e-04", "1.00e-03", "12", "blocks.{0..5}"]]
    assert len(rows(diff_text(flat, layers, folded=False))) == 6


def test_a_row_whose_other_side_goes_up_and_down_is_taken_apart():
    rates = {f"blocks.{i}": {"lr": 1e-3 * (1, 3)[i % 2]} for i in range(6)}
    found = rows(diff_text(plan({"type": "match", "table": rates}), plan(LAYERS)))
    assert [row[4] for row in found] == [f"blocks.{i}" for i in range(6)]
    assert not any("…" in cell for row in found for cell in row)


def test_equal_values_after_different_ones_keep_rows_apart():
    rates = {"blocks.{0..2}": {"lr": 2e-3}, "blocks.{3..5}": {"lr": 3e-3}, "head": {"lr": 4e-3}}
    ours = {"blocks": {"lr": 5e-3}, "head": {"lr": 6e-3}}
    found = rows(diff_text(plan({"type": "match", "table": rates}), plan({"type": "match", "table": ours})))
    assert sum(int(row[3]) for row in found) == len(MODEL)


def test_a_terminal_without_unicode_gets_a_difference_in_ascii():
    lines = diff_lines(plan(), plan(LAYERS), unicode=False)
    assert all(text.isascii() for text, _ in lines)


def test_the_options_of_another_optimizer_name_their_parameters_once():
    config = {"optimizer": {"type": "sgd", "lr": 1e-3}}
    found = rows(diff_text(plan(), make_plan(config, MODEL), width=160))
    assert [row[4] for row in found] == ["**", *["(same)"] * (len(found) - 1)]
    assert len(found) > 4


def test_rows_of_all_names_are_the_same_whether_they_are_over_depth_or_not():
    model = Inventory([ParamInfo(f"blocks.{i}.w", (4, 4)) for i in range(8)])
    rules = [{"type": "layer_decay", "ratio": 0.5, "layers": ["blocks.{n}"]}]
    configs = [{"optimizer": {"type": "adamw", "lr": lr, "weight_decay": lr}, "rules": rules} for lr in (2e-3, 1e-3)]
    found = rows(diff_text(*[make_plan(config, model) for config in configs]))
    assert [(row[0], row[4]) for row in found] == [("lr", "**"), ("weight_decay", "(same)")]
