"""Plans folded over depth."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import Inventory, ParamInfo, Plan, make_plan
from optimbuild.model.patterns import Pattern
from optimbuild.report import plan_text
from optimbuild.report.folding import folded
from optimbuild.report.name_patterns import Covered, NamePatterns
from tests.random_plans import CONFIGS, inventories

ADAMW = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05}
LAYERS = {"type": "layer_decay", "ratio": 0.5, "layers": ["embed", "blocks.{n}", ["norm", "head"]]}


def planned(names: list[str], *rules: dict[str, Any], **config: Any) -> Plan:
    """Return a plan of parameters, those called weight with two dimensions."""
    params = [ParamInfo(name, (4, 4) if name.endswith("weight") else (4,)) for name in names]
    return make_plan({"optimizer": ADAMW, "rules": list(rules), "strict": False, **config}, Inventory(params))


def rows(plan: Plan, **options: Any) -> list[list[str]]:
    """Return lr, tensors and names of each row."""
    text = plan_text(plan, width=200, **options).split("\n\n")[1]
    cells = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    head = cells[0]
    return [[row[0], row[head.index("tensors")], row[-1]] for row in cells[1:]]


BLOCKS = [f"blocks.{i}.{leaf}" for i in range(12) for leaf in ("fc.weight", "fc.bias", "norm.weight")]
VIT = ["embed.weight", *BLOCKS, "norm.bias", "head.weight"]


def test_layers_that_differ_by_a_factor_share_a_row():
    assert rows(planned(VIT, LAYERS)) == [
        ["1.2e-07", "1", "embed.weight"],
        ["2.4e-07 … 5.0e-04 (× 0.5 per layer)", "36", "blocks.{0..11}"],
        ["1.0e-03", "2", "{norm,head}"],
    ]


def test_the_odd_one_out_has_its_own_row():
    match = {"type": "match", "table": {"blocks.5": {"lr_mult": 0.3}}}
    assert rows(planned(VIT, LAYERS, match))[1:3] == [
        ["2.4e-07 … 5.0e-04 (× 0.5 per layer)", "33", "blocks.{{0..4},{6..11}}"],
        ["2.3e-06", "3", "blocks.5"],
    ]


def test_the_odd_one_out_on_a_step_of_another_layer_has_its_own_row():
    match = {"type": "match", "table": {"blocks.5": {"lr_mult": 0.25}}}
    assert [row[1:] for row in rows(planned(VIT, LAYERS, match))[1:3]] == [
        ["33", "blocks.{{0..4},{6..11}}"],
        ["3", "blocks.5"],
    ]


def test_kinds_of_settings_have_rows_of_their_own():
    decay = {"type": "match", "table": {"**.fc.weight": {"weight_decay": 0}}}
    assert [row[1:] for row in rows(planned(VIT, LAYERS, decay))] == [
        ["1", "embed.weight"],
        ["12", "blocks.{0..11}.fc.weight"],
        ["24", "blocks.{0..11}.{norm,fc.bias}"],
        ["2", "{norm,head}"],
    ]


def test_two_blocks_are_folded_where_others_go_on_with_their_factor():
    names = ["embed.weight", "blocks.0.weight", "blocks.1.weight", "head.weight"]
    assert rows(planned(names, LAYERS))[1] == ["2.5e-04 … 5.0e-04 (× 0.5 per layer)", "2", "blocks.{0..1}"]
    match = {"type": "match", "table": {"blocks.0": {"lr": 1e-5}}}
    assert [row[2] for row in rows(planned(names, match))] == ["{embed,head,blocks.1}", "blocks.0.weight"]


def test_experts_are_folded_with_the_layers():
    names = [f"layers.{i}.experts.{j}.{leaf}.weight" for i in range(4) for j in range(8) for leaf in ("w1", "w2")]
    names += [f"layers.{i}.gate.weight" for i in range(4)]
    decay = {"type": "layer_decay", "ratio": 0.9, "layers": ["layers.{n}"]}
    odd = {"type": "match", "table": {"**.w1": {"lr_mult": 0.3}}}
    assert [row[1:] for row in rows(planned(names, decay, odd))] == [
        ["32", "layers.{0..3}.experts.{0..7}.w1"],
        ["36", "layers.{0..3}.{experts.{0..7}.w2,gate}"],
    ]


LEVELS = [f"levels.{i}.blocks.{j}.weight" for i, count in enumerate((2, 3, 9)) for j in range(count)]
KEYWORDS = ["levels.0.blocks.{n}", "levels.1.blocks.{n}", "levels.2.blocks.{n}"]


def test_each_level_has_a_row_where_there_is_room():
    decay = {"type": "layer_decay", "ratio": 0.9, "layers": KEYWORDS}
    plan = planned(LEVELS, decay)
    assert [row[2] for row in rows(plan)] == [f"levels.{i}.blocks.{{0..{n}}}" for i, n in enumerate((1, 2, 8))]
    names = NamePatterns.of(plan.inventory)
    (row,) = folded(plan.groups, names.families, True)
    assert (len(row.positions), row.ratio) == (14, 0.9)


def test_many_levels_of_many_blocks_share_a_row():
    names = [f"levels.{i}.blocks.{j}.weight" for i in range(50) for j in range(4)]
    decay = {"type": "layer_decay", "ratio": 0.99, "layers": [f"levels.{i}.blocks.{{n}}" for i in range(50)]}
    assert [row[2] for row in rows(planned(names, decay))] == ["**"]


@pytest.mark.parametrize("depth", [3, 30, 300])
@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_regular_model_of_any_depth_has_at_most_forty_lines(depth, width):
    leaves = ("attn.qkv.weight", "attn.qkv.bias", "mlp.weight", "mlp.bias", "norm.weight", "norm.bias")
    names = [f"levels.{i}.blocks.{j}.{leaf}" for i in range(4) for j in range(depth) for leaf in leaves]
    layers = [f"levels.{i}.blocks.{{n}}" for i in range(4)]
    decay = {"type": "layer_decay", "ratio": 0.99, "layers": layers}
    lines = plan_text(planned(names, {"type": "no_decay"}, decay), width=width).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= width


def test_groups_that_rules_named_keep_their_names_and_empty_ones_are_shown():
    order = [*[{"name": f"stage_{i}", "lr": 1e-3 * 0.5**i} for i in range(3)], {"name": "none"}]
    members = [{"group": f"stage_{i}", "params": [f"p{i}"]} for i in range(3)]
    names = [f"blocks.{i}.p{i}" for i in range(3)]
    text = plan_text(planned(names, {"type": "groups", "order": order, "members": members}))
    assert "stage_0" in text
    assert re.search(r"^none .* 0 +0 +none$", text, re.MULTILINE)


@given(inventories(), CONFIGS, st.sampled_from(["folded", "groups"]), st.integers(40, 160))
@settings(max_examples=60)
def test_each_tensor_is_in_one_row_and_its_pattern_catches_no_other(inventory, config, view, width):
    try:
        plan = make_plan(config, inventory)
    except ValueError:
        return
    assert plan_text(plan, view=view, width=width)
    names = NamePatterns.of(inventory)
    for whole in (False, True):
        found = folded(plan.groups, names.families, whole)
        positions = sorted(position for row in found for position in row.positions)
        assert positions == [i for i, param in enumerate(inventory) if not plan[param.name].frozen]
        for row in found:
            pattern, rest = re.fullmatch(
                r"(.*?)(?:, \+(\d+) tensors?)?", Covered(names.families, row.parts, row.stem).text(width)
            ).groups()
            caught = inventory.positions([param.name for param in inventory.matching(Pattern(pattern))])
            assert set(caught) <= set(row.positions)
            assert len(caught) == len(row.positions) - int(rest or 0)
            lrs = [plan.groups[i].options["lr"] for i in row.groups]
            assert lrs in (sorted(lrs), sorted(lrs, reverse=True))
            settings_of = [{**plan.groups[i].options, "lr": 0} for i in row.groups]
            assert all(found == settings_of[0] for found in settings_of)


def test_eight_thousand_groups_have_a_row_each_and_two_rows_folded():
    names = [*[f"layers.{i}.weight" for i in range(8002)], "head.weight"]
    plan = planned(names, {"type": "layer_decay", "ratio": 0.999, "layers": ["layers.{n}", "head"]})
    assert len(plan.groups) == 8003
    assert [row[2] for row in rows(plan)] == ["layers.{0..8001}", "head.weight"]
    assert [row[-1] for row in rows(plan, view="groups")] == names
