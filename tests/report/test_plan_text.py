"""Plans and differences in the terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from optimbuild import Inventory, OptimBuildError, ParamInfo, Plan, make_plan, optimizer
from optimbuild.edits import Edit
from optimbuild.registry import rule
from optimbuild.report import diff_text, plan_text
from optimbuild.report.plan_text import plan_lines

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
ADAMW = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05}


def model(**shapes: tuple[int, ...]) -> Inventory:
    """Return an inventory of parameters with these shapes; ``__`` in a name stands for a dot."""
    params = [ParamInfo(name.replace("__", "."), shape) for name, shape in shapes.items()]
    return Inventory(tuple(params), model="Tiny")


TINY = model(stem__weight=(8, 4), stem__bias=(8,), head__weight=(1000, 8), head__bias=(1000,))


def plan(*rules: dict[str, Any], inventory: Any = TINY, **config: Any) -> Plan:
    return make_plan({"optimizer": ADAMW, "rules": list(rules), **config}, inventory)


def group_text(made: Plan, **options: Any) -> str:
    return plan_text(made, view="groups", **options)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table's rows, its heading first."""
    table = text.split("\n\n")[1]
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]


def test_the_heading_has_model_optimizer_and_shared_options():
    text = plan_text(plan({"type": "no_decay"}))
    assert text.split("\n\n")[0].splitlines() == [
        "model        Tiny: 9.04k parameters in 4 tensors",
        "optimizer    adamw, fused, 2 groups; betas [0.9, 0.999], eps 1e-08",
    ]


def test_a_group_has_a_row_with_its_settings_size_and_names():
    assert rows(group_text(plan({"type": "no_decay"}))) == [
        ["group", "lr", "weight_decay", "tensors", "elements", "parameters"],
        ["0", "0.001", "0.05", "2", "8.03k", "**.weight"],
        ["1", "0.001", "0", "2", "1.01k", "**.bias"],
    ]


def test_frozen_parameters_have_the_last_row_and_a_line_in_the_heading():
    text = group_text(plan({"type": "freeze", "patterns": ["stem"]}))
    assert "frozen       40 parameters in 2 tensors" in text
    assert rows(text)[-1] == ["frozen", "2", "40", "stem"]
    assert "frozen" not in plan_text(plan())


def test_an_option_that_differs_between_groups_has_a_column():
    text = group_text(plan({"type": "match", "table": {"head": {"betas": [0.5, 0.9], "amsgrad": True}}}))
    assert rows(text)[0] == ["group", "lr", "weight_decay", "betas", "amsgrad", "tensors", "elements", "parameters"]
    assert rows(text)[2][3:5] == ["[0.5, 0.9]", "true"]
    assert "betas" not in text.split("\n\n")[0]


def test_an_implementation_that_differs_has_a_column():
    inventory = Inventory((ParamInfo("real", (2,)), ParamInfo("wave", (2,), dtype="complex64")))
    together = plan_text(plan(inventory=inventory))
    assert "adamw, foreach, 1 group" in together
    assert "implementation" not in together
    apart = rows(group_text(plan({"type": "match", "table": {"real": {"lr": 1}}}, inventory=inventory)))
    assert [row[3] for row in apart] == ["implementation", "fused", "foreach"]


@rule("to_sgd")
class ToSgd:
    """Give heads to SGD."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return Edit(optimizer="sgd", why="a head") if param.name.startswith("head") else None


def test_rows_of_two_optimizers_have_their_own_options():
    text = group_text(plan({"type": "to_sgd"}))
    assert re.findall(r"^optimizer .*", text, re.MULTILINE) == [
        "optimizer    adamw, fused, 1 group; betas [0.9, 0.999], eps 1e-08",
        "optimizer    sgd, fused, 1 group; momentum 0.9, dampening 0.0, nesterov true",
    ]
    assert rows(text)[0][:5] == ["group", "optimizer", "lr", "weight_decay", "tensors"]
    assert rows(text)[2][1] == "sgd"


def test_what_an_optimizer_fixes_is_shown_as_fixed():
    text = plan_text(plan(optimizer={"type": "sgd_linear_probing", "lr": 0.1}))
    assert "momentum 0.9 (fixed), dampening 0.0, nesterov false (fixed)" in " ".join(text.split())


def test_notes_warnings_and_the_fingerprint_stand_at_the_end():
    golden = make_plan(
        {"optimizer": ADAMW, "rules": [{"type": "layer_decay", "ratio": 0.875}]}, GOLDEN / "internimage_t.json"
    )
    end = plan_text(golden).split("\n\n")[2]
    assert re.findall(r"^\S+", end, re.MULTILINE) == ["note", "warning", "fingerprint"]
    assert "depths from the model's lr_decay_keywords(0.875)" in end
    assert f"fingerprint  {golden.fingerprint[:12]}" in end
    assert "warning" not in plan_text(golden, warnings=False)
    assert str(golden) == plan_text(golden)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_two_hundred_groups_have_a_line_each_and_no_name_is_cut(width):
    config = {"optimizer": ADAMW, "rules": [
        {"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.9}, {"type": "dcn_lr", "factor": 0.1},
    ]}  # fmt: skip
    golden = make_plan(config, GOLDEN / "internimage_h.json")
    table = group_text(golden, width=width).split("\n\n")[1].splitlines()
    known = {piece for p in golden for piece in p.name.split(".")}
    assert len([line for line in table if re.match(r" {,4}\d+ +\d", line)]) == len(golden.groups) == 200
    assert max(map(len, table)) <= width
    for line in table[1:]:
        if re.search(r" [\d.]+[kM]?$", line):
            continue  # its names are on the next line
        text = re.split(r"\s{2,}", line.rstrip())[-1]
        pieces = re.sub(r"\+\d+ tensors?|\d+\.\.\d+|[{},*]", " ", text).replace(".", " ").split()
        assert set(pieces) <= known


def test_numbers_that_differ_read_differently():
    text = group_text(plan({"type": "match", "table": {"stem": {"lr": 1.000001e-3}}}))
    assert [row[1] for row in rows(text)[1:]] == ["1.000001e-03", "1.000000e-03"]


def test_params_are_a_tree_of_modules_with_every_name_whole():
    long = "a" * 50
    blocks = [ParamInfo(f"b.c.{i}.fc.{leaf}", (2,)) for i in (0, 1) for leaf in ("weight", "bias")]
    tied = ParamInfo(f"{long}.weight", (2, 3), aliases=("tied.weight",))
    inventory = Inventory((tied, *blocks, ParamInfo("scale", ())))
    text = plan_text(plan({"type": "freeze", "patterns": ["scale"]}, inventory=inventory), params=True)
    table = text.split("\n\n")[1].splitlines()
    indent = table[0].index("parameter")
    assert [line[indent:] for line in table[2:]] == [
        "  weight = tied.weight",
        "b.c",
        "  0.fc",
        "    weight",
        "    bias",
        "  1.fc",
        "    weight",
        "    bias",
        "scale",
    ]
    assert table[1].split() == [long]
    assert table[2].split()[:4] == ["0", "0.001", "0.05", "2×3"]
    assert table[-1].split() == ["frozen", "scalar", "scale"]


@pytest.mark.parametrize("names", [("a", "a.b", "a.b.c"), ("a.b.c", "a.b", "a"), ("x", "a..b", ".a", "a.")])
def test_a_tree_has_a_row_for_every_name_however_odd(names):
    inventory = Inventory([ParamInfo(name, (2,)) for name in names])
    assert len(re.findall(r"^ +0 ", plan_text(plan(inventory=inventory), params=True), re.MULTILINE)) == len(names)


def test_control_characters_in_an_option_are_escaped():
    optimizer("shouting", Shouting)
    text = plan_text(plan(optimizer={"type": "shouting", "lr": 0.1, "mode": {"color": "\x1b[31mred\n"}}))
    assert r"mode {color: \x1b[31mred\n}" in text


class Shouting:
    """An optimizer with an option that is a string."""

    def __init__(self, params: Any, lr: float = 0.1, mode: Any = None) -> None:
        pass


def test_diff_has_a_row_for_each_distinct_change():
    text = diff_text(plan(), plan({"type": "no_decay"}, {"type": "freeze", "patterns": ["stem.weight"]}), ("a", "b"))
    assert re.match(r"before  a \(\w{12}\)\nafter   b \(\w{12}\)\n", text)
    assert rows(text) == [
        ["option", "before", "after", "tensors", "parameters"],
        ["frozen", "false", "true", "1", "stem.weight"],
        ["weight_decay", "0.05", "0", "2", "**.bias"],
    ]


def test_diff_of_plans_that_are_the_same_says_so():
    assert diff_text(plan(), plan({"type": "match", "table": {"head": {}}})) == (
        "no difference: every parameter gets the same (4 tensors)"
    )


def test_diff_names_parameters_that_only_one_plan_has():
    smaller = model(stem__weight=(8, 4), stem__bias=(8,), neck=(3,))
    lines = diff_text(plan(), plan(inventory=smaller)).splitlines()
    assert lines[2:] == ["only before  head.weight", "only before  head.bias", "only after   neck"]


def test_the_text_of_a_plan_does_not_depend_on_the_terminal(monkeypatch):
    before = str(plan({"type": "no_decay"}))
    monkeypatch.setenv("COLUMNS", "40")
    assert str(plan({"type": "no_decay"})) == before


def test_a_view_that_does_not_exist_is_an_error_that_names_the_views():
    with pytest.raises(OptimBuildError, match=r"no view 'group'\. Did you mean 'groups'"):
        plan_text(plan(), view="group")


@pytest.mark.parametrize("view", ["folded", "groups", "params"])
def test_a_terminal_without_unicode_gets_ascii(view):
    decay = {"type": "layer_decay", "ratio": 0.5, "layers": ["stem", "head"]}
    made = make_plan({"optimizer": ADAMW, "rules": [decay]}, TINY)
    lines = plan_lines(made, view, unicode=False)
    assert all(text.isascii() for text, _ in lines)
