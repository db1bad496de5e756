"""The benchmarks run, compare like with like, and write what they found; nothing here asserts a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import build, document, models, sides, step
from benchmarks.results import Result, Row, Target
from optimbuild import build_optimizer

ROOT = Path(__file__).parent.parent
NAMES = ("build", "step", "composite", "zero", "schedule", "plan", "audit", "startup", "resume")


def _settings(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    return {names[id(t)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for t in g["params"]}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    docs = tmp_path_factory.mktemp("docs")
    (docs / "benchmarks.md").write_text((ROOT / "docs" / "benchmarks.md").read_text("utf-8"), "utf-8")
    subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", str(docs / "out.json"), "--docs", str(docs)],
        check=True,
        cwd=ROOT,
        timeout=540,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    return docs


@pytest.mark.slow
def test_a_quick_run_of_everything_finds_figures_for_every_side(quick: Path) -> None:
    data = json.loads((quick / "out.json").read_text("utf-8"))
    assert list(data["results"]) == list(NAMES)
    assert data["quick"]
    assert data["machine"]["threads"] == 1
    for found in data["results"].values():
        assert all(row["median"] > 0 for row in found["rows"] if row["unit"] == "s")
        assert {row["side"] for row in found["rows"]} & {sides.OURS, "plan", "optimbuild --help"}


@pytest.mark.slow
def test_results_are_drawn_and_written_between_the_marks_of_the_page(quick: Path) -> None:
    page = (quick / "benchmarks.md").read_text("utf-8")
    for name in NAMES:
        assert (quick / "benchmarks" / f"{name}.svg").read_text("utf-8").count("<svg") == 1
        section = page.partition(f"<!-- begin: {name} -->")[2].partition(f"<!-- end: {name} -->")[0]
        assert f"benchmarks/{name}.svg" in section
        assert "| case |" in section
    assert page.startswith("# Benchmarks\n\n<!-- begin: opening -->")  # the text around the tables stays


@pytest.mark.slow
def test_results_survive_their_json_and_redraw_the_same_page(quick: Path) -> None:
    before = (quick / "benchmarks.md").read_text("utf-8")
    stored = json.loads((quick / "benchmarks" / "results.json").read_text("utf-8"))
    document.write(quick, stored)
    assert (quick / "benchmarks.md").read_text("utf-8") == before


def test_the_page_opens_with_a_picture_and_how_much_faster_a_step_is(tmp_path: Path) -> None:
    rows = [Row("a", "optimbuild", 1.0), Row("a", "one group per tensor", 2.0, ratio=2.04), Row("b", "MMEngine", 1.0)]
    rows += [Row("b", "one group per tensor", 9.0, ratio=9.0)]
    result = Result("step", "about", rows)
    names = ("machine", "targets", "opening", "step")
    marks = [f"<!-- begin: {name} -->\n\n<!-- end: {name} -->" for name in names]
    (tmp_path / "benchmarks.md").write_text("\n".join(marks), "utf-8")
    stored = json.loads((ROOT / "docs/benchmarks/results.json").read_text("utf-8"))
    document.write(tmp_path, {"machine": stored["machine"], "results": {"step": result.to_dict()}})
    opening = (tmp_path / "benchmarks.md").read_text("utf-8").partition("<!-- begin: opening -->")[2]
    assert "(benchmarks/opening.svg)\n\nOne step of AdamW is **2.0 to 9.0 times as fast**" in opening
    drawn = (tmp_path / "benchmarks/opening.svg").read_text("utf-8")
    assert [text for text in ("2.0 ×", "9.0 ×", "1.0 ×") if text in drawn] == ["2.0 ×", "9.0 ×"]


def test_a_target_knows_whether_it_was_met() -> None:
    met, missed = Target("less", 1.0, 2.0), Target("more", 1.0, 2.0, at_most=False)
    result = Result("x", "about", [Row("case", "side", 1.0)], [met, missed])
    assert [target["met"] for target in result.to_dict()["targets"]] == [True, False]
    assert Result.from_dict(result.to_dict()).targets == [met, missed]


def test_the_published_layout_gives_every_tensor_the_plans_settings() -> None:
    model = models.from_inventory("internimage_l", at_most=200)
    ours = build_optimizer(sides.config(*build.THREE), model)
    published = sides.published(model, build.RATIO, 0.1)
    assert _settings(model, published) == _settings(model, ours)
    assert sides.group_count(published) == 200 > sides.group_count(ours)


def test_one_group_a_tensor_splits_our_groups_and_nothing_else() -> None:
    model = models.hugging_face(models.TINY)
    ours = build_optimizer(sides.config(sides.NO_DECAY, {"type": "layer_decay", "ratio": 0.8}), model)
    split = step.one_each(ours)
    assert _settings(model, split) == _settings(model, ours)
    assert all(len(group["params"]) == 1 and not group["fused"] for group in split.param_groups)


def test_a_tree_of_placeholders_has_the_inventory_of_the_real_model() -> None:
    from optimbuild import Inventory, inventory

    real = Inventory.read(models.INVENTORIES / "internimage_h.json")
    assert inventory(models.from_inventory("internimage_h")) == real
