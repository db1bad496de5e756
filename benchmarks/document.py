"""Results as text: tables for the terminal and for ``docs/benchmarks.md``, and plots beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import sides
from benchmarks.drawing import draw, draw_speedup
from benchmarks.results import Result, Row, Target, by_case, figure

PAGE = "benchmarks.md"
FOLDER = "benchmarks"
RESULTS = Path(FOLDER) / "results.json"
OPENING = "opening.svg"


def write(docs: Path, data: dict[str, Any]) -> None:
    """Write results, plots and tables; the text around the tables stays as it is.

    Args:
        docs: The folder of the documentation.
        data: The results as JSON data. Benchmarks that are not among them keep what was written before.
    """
    (docs / FOLDER).mkdir(exist_ok=True)
    stored = docs / RESULTS
    before = json.loads(stored.read_text("utf-8")) if stored.exists() else {"results": {}}
    data = {**data, "results": {**before["results"], **data["results"]}}
    stored.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    page = (docs / PAGE).read_text("utf-8")
    page = _replaced(page, "machine", machine_text(data["machine"]))
    results = [Result.from_dict(found) for found in data["results"].values()]
    page = _replaced(page, "targets", _targets([(result.name, t) for result in results for t in result.targets]))
    for result in results:
        plot = draw(result, docs / FOLDER)
        page = _replaced(page, result.name, _section(result, f"{FOLDER}/{plot.name}"))
        if result.name == "step":
            page = _replaced(page, "opening", _opening(result, docs / FOLDER))
    (docs / PAGE).write_text(page, "utf-8")


def speedups(step: Result) -> dict[str, float]:
    """Return for each model how many times faster a step of ours is than through one group per tensor."""
    return {row.case: row.ratio for row in step.rows if row.side == sides.PUBLISHED and row.ratio is not None}


def _opening(step: Result, folder: Path) -> str:
    """Draw what matters most, and say it in a sentence."""
    found = speedups(step)
    draw_speedup(found, folder / OPENING)
    low, high = min(found.values()), max(found.values())
    sentence = (
        f"One step of AdamW is **{low:.1f} to {high:.1f} times as fast** as with one parameter group per tensor, as "
        "MMEngine and InternVL make them: equal settings share a group, and a step handles a group at once."
    )
    picture = "![How many times faster a step is, one bar per model; the dashed line is one group per tensor]"
    return f"{picture}({FOLDER}/{OPENING})\n\n{sentence}"


def _replaced(page: str, name: str, text: str) -> str:
    """Put text between the two marks of this name."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    found, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{text}\n\n{end}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"the page must hold {begin} and {end} once")
    return found


def machine_text(machine: dict[str, Any]) -> str:
    """Return the machine in a sentence or two."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    waits = "CUDA is synchronised before and after each measurement. " if machine["synchronised"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}; tensors on: {machine['device']}; "
        f"{machine['threads']} threads. {waits}{machine['system']}, Python {machine['python']}, {packages}."
    )


def result_text(result: Result) -> str:
    """Return one result for the terminal."""
    lines = [f"\n== {result.name} =="]
    for case, rows in by_case(result.rows):
        lines.append(f"  {case}")
        lines += [f"    {row.side:32} {row.text:22} {_ratio(row):24} {_facts(row)}".rstrip() for row in rows]
    lines += [f"  {'met   ' if t.met else 'MISSED'} {t.text}: {_bound(t)}" for t in result.targets]
    return "\n".join([*lines, *(f"  {note}" for note in result.notes)])


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{figure(row.ratio, row.ratio)} × {row.against}"


def _facts(row: Row) -> str:
    return ", ".join(f"{value:,} {key}" if isinstance(value, int) else str(value) for key, value in row.facts.items())


def _bound(target: Target) -> str:
    unit = f" {target.unit}" if target.unit else ""
    sign = "≤" if target.at_most else "≥"
    return f"{figure(target.value, target.value)}{unit} ({sign} {target.limit:g}{unit})"


def _section(result: Result, plot: str) -> str:
    picture = f"![{result.name}: the table below as bars from zero, one linear axis per panel]({plot})"
    return "\n\n".join([result.about, picture, _table(result.rows), *result.notes])


def _table(rows: Sequence[Row]) -> str:
    lines = ["| case | side | median ± quartile distance | ratio | |", "|---|---|---|---|---|"]
    for case, found in by_case(rows):
        for place, row in enumerate(found):
            cells = [case if place == 0 else "", row.side, row.text, _ratio(row), _facts(row)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _targets(targets: Sequence[tuple[str, Target]]) -> str:
    lines = ["| benchmark | target | bound | measured | |", "|---|---|---|---|---|"]
    for name, target in targets:
        unit = f" {target.unit}" if target.unit else ""
        bound = f"{'at most' if target.at_most else 'at least'} {target.limit:g}{unit}"
        value = f"{figure(target.value, target.value)}{unit}"
        lines.append(f"| {name} | {target.text} | {bound} | {value} | {'met' if target.met else '**missed**'} |")
    return "\n".join(lines)
