"""The README shows what the files say; its snippets and commands are run elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.document import speedups
from benchmarks.results import Result

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FIRST_SCREENS = ("README.md", "docs/index.md")


def test_the_config_that_the_readme_shows_is_the_file_that_it_names():
    shown = re.search(r"\[`(configs/\S+\.yaml)`\]\(\1\):\n\n```yaml\n(.*?)```", README, re.DOTALL)
    assert shown, "the README shows no config"
    lines = (ROOT / shown[1]).read_text("utf-8").splitlines(keepends=True)
    assert shown[2] == "".join(line for line in lines if not line.startswith("#"))


def test_every_link_of_the_readme_leads_to_a_file():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_first_screens_say_how_much_faster_a_step_was_measured():
    stored = json.loads((ROOT / "docs/benchmarks/results.json").read_text("utf-8"))["results"]["step"]
    measured = f"**{speedups(Result.from_dict(stored))['ViT-B']:.1f} times as fast**"
    for page in FIRST_SCREENS:
        assert f"The optimizer's step of ViT-B, on a CPU, is {measured}" in (ROOT / page).read_text("utf-8"), (
            page,
            measured,
        )


def test_both_first_screens_say_the_same_about_what_is_saved():
    lists = [re.findall(r"^- \*\*.+$", (ROOT / page).read_text("utf-8"), re.MULTILINE) for page in FIRST_SCREENS]
    assert lists[0] == lists[1]
    assert len(lists[0]) == 5
