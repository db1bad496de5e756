"""The picture of a plan: what it says, that it is the same each time, and which files it replaces."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest

from optimbuild import Inventory, OptimBuildError, ParamInfo, Plan, inventory, make_plan
from optimbuild.plot import save_plot
from optimbuild.plot.marks import kind_of, marks_of
from optimbuild.plot.schedules import named_schedule
from tests.models import CONFIG, Net


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(
        {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["stem"]}]}, inventory(Net())
    )


def texts(path: Path) -> list[str]:
    """Return the texts of an SVG, which is read as XML."""
    root = ET.parse(path).getroot()
    assert not [node for node in root.iter() if node.tag.endswith(("script", "image", "foreignObject"))]
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_marks_are_what_the_plan_gives_at_each_block(plan: Plan) -> None:
    blocks, marks = marks_of(plan)
    found = {(blocks[mark.block], mark.kind, mark.lr, mark.weight_decay) for mark in marks}
    block_of = {name: next(b for b in blocks if f"{name}.".startswith(f"{b}.")) for name in plan.inventory.names}
    assert found == {(block_of[d.name], kind_of(d.param), d.lr, d.weight_decay) for d in plan}
    assert len({(mark.block, mark.kind, mark.lr, mark.weight_decay) for mark in marks}) == len(marks)


def test_an_svg_names_axes_blocks_kinds_and_what_is_frozen(plan: Plan, tmp_path: Path) -> None:
    save_plot(plan, tmp_path / "lr.svg", named_schedule("cosine", 5))
    found = texts(tmp_path / "lr.svg")
    axes = {
        "learning rate (log)",
        "weight decay",
        "frozen",
        "step",
        "depth: modules in the order of the model's parameters",
    }
    assert axes <= set(found)
    assert {"stem", "blocks.0", "head", "norm", "linear", "1e-03"} <= set(found)
    assert any(text.startswith("highest: group ") for text in found)


def test_equal_plans_give_equal_files_whatever_the_users_settings(plan: Plan, tmp_path: Path) -> None:
    save_plot(plan, tmp_path / "one.svg")
    with mpl.rc_context({"svg.hashsalt": None, "font.size": 20, "svg.fonttype": "path"}):
        save_plot(plan, tmp_path / "two.svg")
        assert mpl.rcParams["font.size"] == 20
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = [r"$\frac{a}{b}$", "a < b", "a&b;-->", "\u5c64"]
    params = tuple(ParamInfo(f"{name}.weight", (2, 2)) for name in names)
    plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, Inventory(params, model="$x$ <&>"))
    save_plot(plan, tmp_path / "lr.svg")
    assert set(names) <= set(texts(tmp_path / "lr.svg"))
    assert any(text.startswith("$x$ <&>: sgd") for text in texts(tmp_path / "lr.svg"))


@pytest.mark.parametrize("zero", [[], ["stem"]])
def test_an_lr_of_zero_is_drawn_and_the_axis_says_so(zero: list[str], tmp_path: Path) -> None:
    table = [{"pattern": name, "lr": 0.0} for name in zero]
    rules = [{"type": "match", "table": table}] if table else []
    save_plot(
        make_plan({"optimizer": {"type": "sgd", "lr": 0.1}, "rules": rules}, inventory(Net())), tmp_path / "lr.svg"
    )
    told = "learning rate (log; linear below 0.1)" if zero else "learning rate (log)"
    assert told in texts(tmp_path / "lr.svg")


def test_an_optimizer_without_weight_decay_has_a_panel_that_says_so(tmp_path: Path) -> None:
    params = (ParamInfo("fc.weight", (2, 2)),)
    save_plot(make_plan({"optimizer": {"type": "LBFGS", "lr": 0.1}}, Inventory(params)), tmp_path / "lr.svg")
    assert "no weight decay" in texts(tmp_path / "lr.svg")


@pytest.mark.parametrize(("name", "start"), [("lr.PNG", b"\x89PNG"), ("lr.pdf", b"%PDF"), ("lr.svg", b"<?xml")])
def test_the_suffix_is_the_format_and_only_a_plot_is_replaced(
    name: str, start: bytes, plan: Plan, tmp_path: Path
) -> None:
    path = tmp_path / name
    for _ in range(2):
        save_plot(plan, path)
    assert path.read_bytes().startswith(start)
    path.write_bytes(start + b" of somebody else")
    with pytest.raises(OptimBuildError, match="exists and is no plot of optimbuild, so it is not replaced"):
        save_plot(plan, path)
    assert path.read_bytes() == start + b" of somebody else"


@pytest.mark.parametrize(
    ("name", "words"),
    [("lr.svgg", r"none of \*\.svg, .* Did you mean 'svg'"), ("lr", "says its format"), ("no/lr.svg", "cannot write")],
)
def test_a_file_that_cannot_be_drawn_is_an_error(name: str, words: str, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(OptimBuildError, match=words):
        save_plot(plan, tmp_path / name)
