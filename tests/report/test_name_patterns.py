"""Patterns that stand for many names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimbuild.model.patterns import Pattern
from optimbuild.report.name_patterns import Names

BLOCKS = ("levels.0.blocks.0", "levels.0.blocks.1", "levels.1.blocks.0")
LAYERS = ("norm.weight", "norm.bias", "fc.weight", "fc.bias", "gamma")
NAMES = (*(f"{block}.{layer}" for block in BLOCKS for layer in LAYERS), "head.weight", "head.bias", "pos_embed")

segments = st.sampled_from(["a", "b", "0", "1", "norm", "weight", "x*", "re:y", "{n}", ""])
names = st.lists(
    st.lists(segments, min_size=1, max_size=4).map(".".join).filter(bool), min_size=1, max_size=12, unique=True
)


@given(names, st.data())
def test_a_cover_covers_each_name_once_and_its_globs_match_no_other_name(everything, data):
    ours = data.draw(st.lists(st.sampled_from(everything), min_size=1, unique=True))
    cover = list(Names(tuple(everything)).cover(ours))
    assert sum(count for _, count in cover) == len(ours)
    for pattern, _ in cover:
        if pattern not in everything and "*" in pattern:
            assert not any(Pattern(pattern).matches(name) for name in everything if name not in ours)


@given(names, st.data(), st.integers(1, 80))
def test_only_a_summary_of_one_pattern_is_wider_than_asked_for(everything, data, width):
    ours = data.draw(st.lists(st.sampled_from(everything), min_size=1, unique=True))
    summary = Names(tuple(everything)).summary(ours, width)
    assert summary
    assert len(summary) <= width or summary.count(", ") <= summary.count("more")


@pytest.mark.parametrize(
    ("chosen", "width", "summary"),
    [
        (NAMES, 60, "**"),
        ([n for n in NAMES if n.startswith("levels.0")], 60, "levels.0"),
        ([n for n in NAMES if n.endswith("bias")], 60, "**.bias"),
        ([n for n in NAMES if "norm" in n or "gamma" in n], 60, "levels.{**.norm, **.gamma}"),
        ([n for n in NAMES if n.startswith("levels.0.blocks.1") and "weight" in n], 60,
         "levels.0.blocks.1.**.weight"),
        ([n for n in NAMES if n.startswith("levels.0.blocks.1") and "norm" not in n], 60,
         "levels.0.blocks.1.{fc, gamma}"),
        ([n for n in NAMES if n.startswith("levels.0.blocks.1") and "norm" not in n], 20, "levels.0.blocks.1.{3 of 5}"),
        (["head.weight", "pos_embed", "levels.0.blocks.1.gamma"], 30, "pos_embed, +2 more"),
        (["pos_embed"], 3, "pos_embed"),
    ],
)  # fmt: skip
def test_a_summary_is_short_and_exact(chosen, width, summary):
    assert Names(NAMES).summary(chosen, width) == summary


def test_numbers_replace_a_star_only_where_the_star_matches_nothing_else():
    names = Names(("blocks.0.w", "blocks.1.w", "blocks.shared.w"))
    assert names.summary(["blocks.0.w", "blocks.1.w"]) == "blocks.{0.w, 1.w}"
