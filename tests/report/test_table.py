"""Lines of text keep to a width, and what they break can be put together again."""

from __future__ import annotations

import pytest

from optimbuild import Inventory, ParamInfo, make_plan
from optimbuild.report import explain_text, plan_text
from optimbuild.report.table import broken, labelled

NAME = ".".join(["backbone", *[f"a_rather_long_name_of_a_module_{i}" for i in range(4)], "weight"])
SMALL = Inventory([ParamInfo(name, (4, 4)) for name in (NAME, f"{NAME}_too", "head.weight")])


@pytest.mark.parametrize("view", ["folded", "groups", "params"])
def test_nothing_wraps_inside_a_word_at_80_columns(view: str) -> None:
    rules = [{"type": "match", "table": {NAME: {"lr_mult": 0.1}, "head.weight": {"weight_decay": 0.0}}}]
    plan = make_plan({"optimizer": {"type": "adamw", "lr": 1e-3}, "rules": rules}, SMALL)
    texts = [plan_text(plan, view=view, width=80), explain_text(plan, NAME, width=80, places=[f"/{NAME * 2}.yaml:3"])]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80
    named = texts[view == "params" :]  # which has a tree of modules, and no whole names
    assert all(NAME in "".join(map(str.strip, text.splitlines())) for text in named)


def test_a_word_without_dots_stays_whole() -> None:
    word = "x" * 100
    assert broken(word, 80) == [word]
    assert [text for text, _ in labelled([("note", f"see {word} here")], 40)] == [
        "note  see",
        f"      {word}",
        "      here",
    ]


def test_pieces_put_together_are_the_text() -> None:
    assert broken(f"{NAME},../a/b/c.py:12", 40) != [NAME]
    assert "".join(broken(f"{NAME},../a/b/c.py:12", 40)) == f"{NAME},../a/b/c.py:12"
