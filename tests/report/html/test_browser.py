"""The page in a real browser: what it shows equals the plan, every control does what it says, and nothing leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optimbuild import Inventory, ParamInfo, Plan, make_plan
from optimbuild.cli.plans import inventory_for, plan_of_file
from optimbuild.report.notation import column_texts, count_text, shape_text
from tests.report.html.browser import Visit, chromium

pytestmark = pytest.mark.slow
pytest.importorskip("plotly")
pytest.importorskip("itables")

ROOT = Path(__file__).parents[3]
HOSTILE = "</script><img src=x onerror=alert(1)>"
"""Refused as a name of a parameter, but a title may be anything."""
ODD = (
    "a&lt;b&gt;.weight",
    "q\"uo'te.weight",
    "${evil}.weight",
    "b`tick.weight",
    "-->.weight",
    "x<y.weight",
    "a=1>0.weight",
)
"""Names that a model may have, and that must stay text."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def plan() -> Plan:
    inventory = inventory_for(str(ROOT / "configs/inventories/internimage_h.json"), "")
    return plan_of_file(str(ROOT / "configs/internimage_h_22kto1k_640.yaml"), inventory, [])


@pytest.fixture(scope="module")
def file(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "plan.html"
    path.write_text(plan.to_html(titles=("internimage_h.yaml", ""), world_size=8), "utf-8")
    return path


@pytest.fixture(scope="module")
def finetune(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """Return a plan with frozen parameters, and its page beside another plan."""
    inventory = inventory_for(str(ROOT / "configs/inventories/internimage_t.json"), "")
    plans = [
        plan_of_file(str(ROOT / f"configs/{name}.yaml"), inventory, [])
        for name in ("internimage_t_finetune", "internimage_t_1k_224")
    ]
    path = tmp_path_factory.mktemp("pair") / "plan.html"
    path.write_text(plans[0].to_html(plans[1], titles=("finetune", "published")), "utf-8")
    return plans[0], path


@pytest.fixture(scope="module")
def opened(browser: Any, file: Path) -> Iterator[Visit]:
    found = Visit(browser, file)
    yield found
    found.close()


@pytest.fixture
def visit(opened: Visit) -> Iterator[Visit]:
    """Return the page of InternImage-H; after the test it is as at first, and must have complained of nothing."""
    yield opened
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "blob:"))] == []
    opened.page.emulate_media(media="screen")
    opened.page.keyboard.press("Escape")
    opened.choose("By group")
    opened.choose("Learning rate")
    opened.page.locator("#path button").first.click()
    opened.search("")
    opened.page.locator("#fold").click()


def test_the_page_opens_without_complaints_or_any_network(visit: Visit) -> None:
    assert visit.page.locator("h1").text_content() == "internimage_h"
    assert visit.page.locator("main > *").first.get_attribute("class") == "warnings"
    policy = visit.page.locator("meta[http-equiv]").get_attribute("content")
    assert "default-src 'none'" in policy


def test_the_rows_of_the_table_equal_plan_json(visit: Visit, plan: Plan) -> None:
    saved = json.loads(plan.to_json())
    visit.page.get_by_role("button", name="Unfold all").click()
    rows = visit.all_rows()
    texts = {key: column_texts([g["options"][key] for g in saved["groups"]]) for key in ("lr", "weight_decay")}
    found = {row[0]: row[1:6] for row in rows}
    assert len(rows) == len(saved["groups"]) + len(saved["params"])
    for param in saved["params"]:
        i, numel = param["group"], plan.inventory[param["name"]].numel
        expected = [texts["lr"][i], texts["weight_decay"][i], "1", count_text(numel), shape_text(param["shape"])]
        assert found[param["name"]] == expected
    heads = {row[0].partition(":")[0]: row[1:5] for row in rows if row[5] == ""}
    for i, group in enumerate(saved["groups"]):
        numel = count_text(group["numel"])
        assert heads[str(i)] == [texts["lr"][i], texts["weight_decay"][i], str(len(group["params"])), numel]


def test_a_search_keeps_what_has_all_words(visit: Visit) -> None:
    visit.search("dcn.offset levels.2.blocks.0.")
    names = [row[0] for row in visit.rows() if row[5]]
    assert names == ["levels.2.blocks.0.dcn.offset.weight", "levels.2.blocks.0.dcn.offset.bias"]
    assert visit.page.locator("#count").text_content() == "2 tensors of 1,357 found."
    visit.search("no such name")
    assert visit.page.locator("#count").text_content() == "0 tensors of 1,357 found."


def test_a_click_on_a_heading_sorts_and_another_turns_it(visit: Visit, plan: Plan) -> None:
    rates = sorted({group.options["lr"] for group in plan.groups})
    heading = visit.page.locator(".dt-scroll-head [aria-label^='lr:']")
    heading.click()
    visit.page.wait_for_timeout(150)
    assert float(visit.rows()[0][1]) == pytest.approx(rates[0], rel=0.01)
    heading.click()
    visit.page.wait_for_timeout(150)
    assert float(visit.rows()[0][1]) == pytest.approx(rates[-1], rel=0.01)
    heading.click()
    visit.page.wait_for_timeout(150)
    assert visit.rows()[0][0].startswith("0: ")


def test_the_keyboard_unfolds_a_group_and_opens_the_steps(visit: Visit, plan: Plan) -> None:
    name, page = plan.groups[0].params[0], visit.page
    page.locator("#table .name").first.focus()
    page.keyboard.press("ArrowRight")
    visit.wait_for_focus(page.locator("#table .name").first.text_content())
    page.keyboard.press("ArrowDown")
    visit.wait_for_focus(name)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading", name=name).is_visible()
    text = dialog.text_content()
    for step in plan.explain(name):
        assert step.rule in text
        assert step.why in text
    assert f"group 0 of {len(plan.groups)}, {plan.group_names[0]}, " in text
    page.keyboard.press("Escape")
    assert not page.locator("#details").is_visible()
    visit.wait_for_focus(name)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(60)
    assert visit.rows()[1][0].startswith("1: ")  # folded again


def test_the_end_of_the_table_is_reached_with_one_key(visit: Visit, plan: Plan) -> None:
    visit.page.get_by_role("button", name="Unfold all").click()
    visit.page.locator("#table .name").first.focus()
    visit.page.keyboard.press("End")
    visit.wait_for_focus(plan.groups[-1].params[-1])


def test_the_modules_are_coloured_as_chosen(visit: Visit) -> None:
    fills = "slices => slices.map(slice => slice.style.fill)"
    slices = visit.page.locator("#icicle path.surface")
    rates = slices.evaluate_all(fills)
    assert len(set(rates)) > 20
    for name, legend in (("Weight decay", "0.05"), ("Optimizer", "adamw"), ("Frozen", "100 %"), ("Memory", "16 B")):
        visit.choose(name)
        visit.page.wait_for_timeout(100)
        assert legend in visit.page.locator("#legend").text_content()
        assert slices.evaluate_all(fills) != rates


def test_the_keyboard_walks_through_the_modules(visit: Visit) -> None:
    page = visit.page
    page.locator("#icicle").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.locator("#here").text_content().startswith("levels.2 ")
    assert page.locator("#path [aria-current]").text_content() == "2"
    page.get_by_role("button", name="Find in the table").click()
    visit.wait_for_focus("2")
    page.locator("#icicle").focus()
    page.keyboard.press("e")
    assert page.get_by_role("dialog").get_by_role("heading", name="levels.2", exact=True).is_visible()


def test_a_click_on_a_module_zooms_in(visit: Visit) -> None:
    visit.page.locator("#icicle g.slice", has_text="blocks").first.click()
    assert visit.page.locator("#path [aria-current]").text_content() == "blocks"


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}])
def test_axe_finds_no_violation_and_the_page_is_not_too_wide(browser: Any, file: Path, options: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visit = Visit(browser, file, **options)
    width = options.get("viewport", {"width": 1280})["width"]
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    for opened in (False, True)[: 1 if width == 400 else 2]:  # the dialog has one form
        if opened:
            visit.page.locator("#table .name").first.click()
        found = axe.run(visit.page).response["violations"]
        assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
    visit.close()


def test_two_plans_are_side_by_side_and_only_differences_can_be_shown(
    browser: Any, finetune: tuple[Plan, Path]
) -> None:
    _, file = finetune
    visit = Visit(browser, file)
    assert visit.page.locator("header .plan h2").all_text_contents() == ["A · finetune", "B · published"]
    visit.choose("By module")
    visit.search("patch_embed.conv1.weight")
    (row,) = [cells for cells in visit.rows() if cells[0] == "weight"]
    assert row[1:5] == ["frozen", "0.0005", "", "0.05"]
    visit.page.locator("#table .name", has_text="weight").click()
    assert visit.page.locator("#details .trace").count() == 2
    assert visit.complaints == []
    visit.close()


def test_hostile_names_and_titles_stay_text(browser: Any, tmp_path: Path) -> None:
    model = Inventory(tuple([ParamInfo(name, (4, 4), owner="Linear") for name in ODD]), model="a&amp;b")
    plan = make_plan({"optimizer": {"type": "adamw"}}, model)
    file = tmp_path / "plan.html"
    file.write_text(plan.to_html(plan, titles=(HOSTILE, HOSTILE)), "utf-8")
    visit = Visit(browser, file)
    visit.page.get_by_role("button", name="Unfold all").click()
    assert [row[0] for row in visit.rows()[1:]] == list(ODD)
    assert HOSTILE in visit.page.locator("header").text_content()
    assert visit.page.locator("h1").text_content() == "a&amp;b"
    assert visit.page.locator("img").count() == 0
    visit.page.locator("#icicle").hover()
    labels = visit.page.locator("#icicle text.slicetext").all_text_contents()
    assert {name.removesuffix(".weight") for name in ODD} <= {label.strip() for label in labels}
    assert visit.complaints == []
    assert visit.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    visit.close()


def test_print_shows_the_groups_as_a_plain_table(visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    assert visit.page.locator("#static table").is_visible()
    assert not visit.page.locator("#groups").is_visible()
