"""The page as text: what it is made with, what it may do, and what a notebook shows of a plan."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from optimbuild import Inventory, MissingPackageError, ParamInfo, Plan, make_plan
from optimbuild.cli import main
from optimbuild.report.html.libraries import Library
from tests.report.html.browser import data_of

ROOT = Path(__file__).parents[3]
MODEL = str(ROOT / "configs/inventories/internimage_t.json")
CONFIG = str(ROOT / "configs/internimage_t_finetune.yaml")
HOSTILE = "</script><img src=x onerror=alert(1)>"


def plan_of(names: list[str], *, model: str = "") -> Plan:
    inventory = Inventory(tuple([ParamInfo(name, (4, 4)) for name in names]), model=model)
    return make_plan({"optimizer": {"type": "adamw"}}, inventory)


@pytest.fixture
def with_libraries() -> None:
    pytest.importorskip("plotly")
    pytest.importorskip("itables")


@pytest.mark.usefixtures("with_libraries")
def test_a_page_may_run_its_own_program_and_reach_nothing():
    page = plan_of(["fc.weight"]).to_html()
    policy = html.unescape(re.search(r'Security-Policy" content="([^"]*)"', page)[1])
    program = re.search(r'<script type="module">(.*)</script>', page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}' blob:;")
    assert "</script" not in program


@pytest.mark.usefixtures("with_libraries")
def test_titles_are_escaped_wherever_they_are():
    page = plan_of(["fc.weight"]).to_html(titles=(HOSTILE, ""))
    assert "<img" not in page
    assert html.escape(HOSTILE) in page
    assert data_of(page)["plans"][0]["title"] == HOSTILE


@pytest.mark.usefixtures("with_libraries")
def test_the_same_plan_gives_the_same_page():
    assert plan_of(["fc.weight"]).to_html() == plan_of(["fc.weight"]).to_html()


@pytest.mark.usefixtures("with_libraries")
def test_the_command_writes_a_report_and_replaces_only_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = tmp_path / "plan.html"
    for _ in range(2):
        assert main(["report", CONFIG, "-m", MODEL, "-o", str(report), "--world-size", "4"]) == 0
        assert f"Wrote: {report}: " in capsys.readouterr().err
    (data,) = data_of(report.read_text("utf-8"))["plans"]
    assert (data["title"], len(data["names"]), len(data["memory"]["state"])) == ("internimage_t_finetune.yaml", 630, 4)
    for text in ("<p>mine</p>", "# Notes\n\nTry `optimbuild report`.\n"):
        other = tmp_path / "notes.html"
        other.write_text(text)
        assert main(["report", CONFIG, "-m", MODEL, "-o", str(other)]) == 2
        assert "exists and is no report, so it is not replaced" in capsys.readouterr().err
        assert other.read_text() == text


def test_an_override_of_a_second_config_needs_one(capsys: pytest.CaptureFixture[str]):
    assert main(["report", CONFIG, "-m", MODEL, "--set-b", "optimizer.lr=1"]) == 2
    assert "--set-b is for the second config; name it with --against" in capsys.readouterr().err


@pytest.mark.usefixtures("with_libraries")
def test_the_command_sets_two_configs_side_by_side(tmp_path: Path):
    report = tmp_path / "plan.html"
    more = ["--against", CONFIG, "--set-b", "optimizer.lr=1e-3", "-o", str(report)]
    assert main(["report", CONFIG, "-m", MODEL, *more]) == 0
    first, second = data_of(report.read_text("utf-8"))["plans"]
    assert first["names"] == second["names"]
    assert second["title"] == "internimage_t_finetune.yaml --set optimizer.lr=1e-3"
    assert [max(g["options"]["lr"] for g in plan["groups"]) for plan in (first, second)] == [1e-4, 1e-3]


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("optimbuild.report.html.document.DATATABLES_STYLE", Library("no_such_package", "x.css"))
    with pytest.raises(MissingPackageError, match=r"no_such_package, which is not installed.*optimbuild\[report\]"):
        plan_of(["fc.weight"]).to_html()


def test_a_library_of_another_form_is_a_missing_package_too():
    with pytest.raises(MissingPackageError, match=r"the json that is installed has no x\.js"):
        Library("json", "x.js").text()


def test_a_report_of_an_inventory_file_never_imports_torch(tmp_path: Path):
    pytest.importorskip("plotly")
    pytest.importorskip("itables")
    code = "import sys; from optimbuild.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = ["report", CONFIG, "-m", MODEL, "-o", str(tmp_path / "plan.html")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=ROOT, timeout=120)


def test_a_notebook_shows_a_small_table_without_a_program():
    names = [f"layers.{i}.weight" for i in range(3000)]
    shown = plan_of(names, model="a&b")._repr_html_()
    assert len(shown) < 5_000
    assert "<script" not in shown
    assert "<style" not in shown
    assert "a&amp;b" in shown
    assert "and 2980 more" in shown
    assert shown.count("<tr>") == 2


def test_a_notebook_escapes_names():
    assert "x&lt;y.weight" in plan_of(["x<y.weight"])._repr_html_()
