"""The report of a large plan: the time to make it, to load it in a browser, and how smoothly its table scrolls."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import Effort, row_of
from benchmarks.plan import CONFIG, mixture_of_experts
from benchmarks.results import Result, Target
from optimbuild import Plan, make_plan

ABOUT = """The report of a plan of a mixture-of-experts language model. Loading is the time in Chromium from the
navigation until everything is drawn and answers; on its main thread it waits for nothing else that runs on the
machine. A frame is the time between two `requestAnimationFrame` while the
table, all of its groups unfolded, scrolls by 120 pixels per frame for two seconds; at 60 frames per second it is
16.7 ms."""

TENSORS, QUICK = 100_000, 1_000
ROUNDS = 3
CHROMIUM = "/usr/bin/chromium"
FRAMES = """async () => {
  document.getElementById("unfold").click();
  const box = document.querySelector("#groups .dt-scroll-body"), times = [], end = performance.now() + 2000;
  for (let last = performance.now(); last < end;) {
    box.scrollTop += 120;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times.slice(5);
}"""
"""Scroll through the table, and return the times between frames, in milliseconds."""


def run(effort: Effort) -> Result:
    """Make the report of a large plan, open it, and scroll through it."""
    rounds = 1 if effort.quick else ROUNDS
    plan = make_plan(CONFIG, mixture_of_experts(QUICK if effort.quick else TENSORS))
    case = f"{len(plan):,} tensors"
    made = [_seconds(lambda: _afresh(plan).to_html()) for _ in range(rounds)]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "plan.html"
        file.write_text(plan.to_html(), "utf-8")
        loads, worked, frames = _in_browser(file, rounds)
        facts = {"file": f"{file.stat().st_size / 1e6:.1f} MB"}
    sides = {
        "to_html": made,
        "load": loads,
        "load, main thread": worked,
        "frame, median": [statistics.median(times) for times in frames],
        "frame, 95 %": [statistics.quantiles(times, n=20)[-1] for times in frames],
    }
    rows = {side: replace(row_of(case, side, times), facts=facts) for side, times in sides.items()}
    targets = [
        Target(f"loading the report of {case}", rows["load"].median, 3, unit="s"),
        Target(f"the median frame while scrolling {case}", rows["frame, median"].median * 1e3, 17, unit="ms"),
        Target(f"95 % of frames while scrolling {case}", rows["frame, 95 %"].median * 1e3, 34, unit="ms"),
    ]
    return Result("report", ABOUT, list(rows.values()), targets)


def _afresh(plan: Plan) -> Plan:
    """Return an equal plan that has computed nothing yet."""
    return replace(plan)


def _seconds(job: Callable[[], Any]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _in_browser(file: Path, rounds: int) -> tuple[list[float], list[float], list[list[float]]]:
    """Return for each round the time that a file took to load, that of its main thread, and those between frames."""
    from playwright.sync_api import sync_playwright

    loads, worked, frames = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            tools = page.context.new_cdp_session(page)
            tools.send("Performance.enable", {"timeDomain": "threadTicks"})
            loads.append(_seconds(lambda page=page: _load(page, file)))  # type: ignore[misc]
            metrics = {each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"]}
            worked.append(metrics["ThreadTime"])
            frames.append([each / 1e3 for each in page.evaluate(FRAMES)])
            page.close()
        browser.close()
    return loads, worked, frames


def _load(page: Any, file: Path) -> None:
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-state=ready]", timeout=60_000)
