"""Explanations in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optimbuild import Inventory, ModelError, ParamInfo, Plan, make_plan
from optimbuild.report import explain_text

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
ADAMW = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05}
NAMES = (
    "stem.weight",
    "stem.bias",
    *[f"blocks.{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")],
    "head.weight",
)
MODEL = Inventory([ParamInfo(name, (4, 4) if "weight" in name else (4,)) for name in NAMES], model="Tiny")
LAYERS = {"type": "layer_decay", "ratio": 0.9, "layers": ["stem", "blocks.{n}", "head"]}


def plan(*rules: dict[str, Any], inventory: Inventory = MODEL, **config: Any) -> Plan:
    return make_plan({"optimizer": ADAMW, "rules": list(rules), **config}, inventory)


def lines(text: str) -> list[str]:
    """Return lines without the spaces that align them."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_setting_is_a_calculation():
    made = plan(LAYERS, {"type": "match", "table": {"blocks.2": {"lr_mult": 0.1}}})
    found = lines(explain_text(made, "blocks.2.weight"))
    why = "layer 3 of 6, 2 from the top"
    assert f"lr 0.001 × 0.81 (layer_decay: {why}) × 0.1 (match: pattern 'blocks.2') = 8.1e-05" in found
    assert "weight_decay 0.05" in found


def test_what_is_set_and_not_multiplied_has_an_arrow():
    made = plan({"type": "no_decay"}, {"type": "match", "table": {"stem": {"lr": 0.0005}}})
    found = lines(explain_text(made, "stem.bias"))
    assert "lr 0.001 → 0.0005 (match: pattern 'stem')" in found
    assert "weight_decay 0.05 → 0 (no_decay: bias)" in found


def test_the_rules_are_told_with_their_places_in_config_and_code():
    made = plan({"type": "no_decay"}, LAYERS)
    found = lines(explain_text(made, "stem.bias", places=["a.yaml:3", ""]))
    assert found[-2].startswith("no_decay rule 1 of 2, a.yaml:3, ")
    assert found[-1].startswith("layer_decay rule 2 of 2, ")
    assert "layer_decay.py:" in found[-1]
    assert "a.yaml" not in found[-1]


def test_a_frozen_parameter_is_told_as_frozen():
    made = plan({"type": "freeze", "patterns": ["stem"]})
    assert "frozen false → true (freeze: pattern 'stem')" in lines(explain_text(made, "stem.bias"))
    inventory = Inventory((ParamInfo("a", (2,), trainable=False), ParamInfo("b", (2,))))
    assert "frozen by the model itself, before any rule" in lines(explain_text(plan(inventory=inventory), "a"))


def test_a_parameter_is_told_with_what_it_is_and_its_group():
    tied = ParamInfo(
        "embed.weight", (10, 4), owner="Embedding", kinds=frozenset({"embedding"}), aliases=("head.weight",)
    )
    found = lines(explain_text(plan(inventory=Inventory((tied, ParamInfo("x", (2,))))), "head.weight"))
    assert found[:4] == [
        "embed.weight",
        "shape 10×4, float32, owned by Embedding",
        "kinds embedding",
        "aliases head.weight",
    ]
    assert found[-1] == "in group 0 (the only one)"


def test_the_traces_of_a_module_are_merged_where_they_are_equal():
    made = plan({"type": "match", "table": {"**.bias": {"lr_mult": 0.5}}})
    found = lines(explain_text(made, "blocks"))
    assert found[0] == "blocks: 8 tensors, 2 traces"
    assert "blocks.{0..3}.weight 4 tensors" in found
    assert "blocks.{0..3}.bias 4 tensors" in found
    assert len([line for line in found if line.startswith("match rule 1")]) == 1


def test_the_traces_of_layers_are_one_from_the_first_to_the_last():
    found = lines(explain_text(plan(LAYERS), "blocks.*.weight"))
    assert found[0] == "blocks.*.weight: 4 tensors, 1 trace"
    assert (
        "lr 0.001 × 0.6561 … 0.9 (layer_decay: layer 1 of 6, 4 from the top … layer 4 of 6, 1 from the top)"
        " = 6.561e-04 … 9e-04"
    ) in found


def test_every_parameter_of_a_large_model_is_in_one_trace():
    config = {"optimizer": ADAMW, "rules": [
        {"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.9}, {"type": "dcn_lr", "factor": 0.1},
    ]}  # fmt: skip
    made = make_plan(config, GOLDEN / "internimage_h.json")
    text = explain_text(made, "levels.2", width=80)
    counts = [int(line.split()[-2]) for line in text.splitlines()[2:] if line.endswith((" tensors", " tensor"))]
    assert sum(counts) == len([name for name in made.inventory.names if name.startswith("levels.2.")])
    assert len(text.splitlines()) < 120


def test_lines_are_wrapped_between_words():
    text = explain_text(plan({"type": "no_decay"}, LAYERS), "blocks.*", width=60)
    assert max(map(len, [line for line in text.splitlines() if "/" not in line])) <= 60


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("head.wieght", r"Tiny has no parameter 'head\.wieght'\. Closest: head\.weight"),
        ("block", r"has no parameter 'block'\. Closest: blocks"),
        ("blcks.*", r"the pattern 'blcks\.\*' matches no parameter of Tiny\. Closest: blocks"),
        ("zzz.*", r"The model consists of: stem, blocks, head\."),
        ("a..b", "is no name and no pattern"),
    ],
)
def test_what_names_nothing_is_an_error_with_the_closest_names(name, message):
    with pytest.raises(ModelError, match=message):
        explain_text(plan(), name)
