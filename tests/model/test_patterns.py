"""Patterns over dotted names: segments are never split, and a module covers everything below it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optimbuild.model.keywords import keyword_in
from optimbuild.model.patterns import Pattern, widened


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("levels.1", ["levels.1", "levels.1.norm.weight"], ["levels.10", "levels.10.norm.weight", "a.levels.1"]),
        ("norm", ["norm", "norm.weight"], ["norm1", "anorm", "block.norm.weight"]),
        ("*.norm", ["a.norm", "a.norm.weight"], ["norm.weight", "a.b.norm.weight", "a.norm1"]),
        ("**.norm", ["norm.bias", "a.norm", "a.b.norm.weight"], ["a.norm1", "a.xnorm"]),
        ("a.**.bias", ["a.bias", "a.b.bias", "a.b.c.bias"], ["bias", "b.bias", "a.biased"]),
        ("a.**", ["a.b", "a.b.c"], ["a", "ab", "b.a"]),
        ("**", ["a", "a.b", "a.b.c"], []),
        ("**.**", ["a", "a.b"], []),
        ("*", ["a", "a.b"], []),
        ("*.*", ["a.b", "a.b.c"], ["a"]),
        ("block?", ["block1", "block1.w"], ["block", "block12", "block.1"]),
        ("blocks.{n}", ["blocks.0.w", "blocks.12"], ["blocks", "blocks.x", "blocks.1x"]),
        ("layer{n}.conv", ["layer3.conv.weight"], ["layer.3.conv", "layer3.conv1"]),
        ("a+b.c(d)[e]", ["a+b.c(d)[e].w"], ["aab.cd", "a+b.c(d)e"]),
        (r"re:norm\d+$", ["a.norm1", "xnorm12"], ["norm", "norm1.weight"]),
        ("re:bias", ["rel_bias_table", "a.bias"], ["weight"]),
    ],
)
def test_a_pattern_matches_these_names_and_not_those(pattern, matching, others):
    assert [name for name in [*matching, *others] if Pattern(pattern).matches(name)] == matching


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "must not be empty"),
        ("re:", "must not be empty"),
        (".a", "no empty segment"),
        ("a.", "no empty segment"),
        ("a..b", "no empty segment"),
        ("**norm", "a segment of its own"),
        ("a.b**", "a segment of its own"),
        ("***", "a segment of its own"),
        ("re:(", "not a regular expression"),
        ("re:a{99999999999999999999}", "not a regular expression"),
        ("re:" + "(" * 20_000, "not a regular expression"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_reason(pattern, reason):
    with pytest.raises(ValueError, match=reason):
        Pattern(pattern)


SEGMENT = st.text("ab1.*?", min_size=1, max_size=3).map(lambda text: text.replace(".", "") or "a")


@settings(max_examples=500)
@given(
    st.lists(
        SEGMENT.filter(lambda text: "**" not in text) | st.sampled_from(["**", "{n}", "a{n}"]), min_size=1, max_size=4
    ),
    st.lists(st.text("ab1", min_size=1, max_size=3), min_size=1, max_size=4),
)
@example(["a", "**"], ["a"])
@example(["**", "a"], ["a"])
def test_a_pattern_means_what_a_walk_over_the_segments_says(pattern, name):
    assert Pattern(".".join(pattern)).matches(".".join(name)) == covers(pattern, name)


def covers(pattern: list[str], name: list[str]) -> bool:
    """Say whether the segments of a pattern take the first segments of a name."""
    if not pattern:
        return True
    first, *rest = pattern
    if first != "**":
        return bool(name) and takes(first, name[0]) and covers(rest, name[1:])
    return bool(name) if not rest else any(covers(rest, name[skipped:]) for skipped in range(len(name) + 1))


def takes(pattern: str, text: str) -> bool:
    """Say whether one segment of a pattern takes the whole of one segment of a name."""
    if pattern.startswith("{n}"):
        return any(text[:n].isdigit() and takes(pattern[3:], text[n:]) for n in range(1, len(text) + 1))
    if pattern.startswith("*"):
        return any(takes(pattern[1:], text[n:]) for n in range(len(text) + 1))
    if not pattern or not text:
        return pattern == text
    return pattern[0] in ("?", text[0]) and takes(pattern[1:], text[1:])


def test_the_numbers_of_a_name_are_its_index():
    assert Pattern("blocks.{n}").index("blocks.7.mlp.weight") == (7,)
    assert Pattern("stages.{n}.blocks.{n}").index("stages.2.blocks.17.weight") == (2, 17)
    assert Pattern("blocks.{n}").index("head.weight") is None
    assert Pattern("head").index("head.weight") == ()
    assert Pattern(r"re:b(\d+)|c(.)").index("c²") == ()


def test_a_superscript_is_no_number():
    assert Pattern("blocks.{n}").index("blocks.²") is None


def test_what_somebody_may_have_meant_is_wider():
    assert widened("*.bias") == ["**.bias"]
    assert widened("a.*.b") == ["a.**.b", "**.a.**.b"]
    assert widened("**.norm") == []
    assert widened("re:norm") == []
    assert widened("a*.*.b") == ["a*.**.b", "**.a*.**.b"]


@given(st.lists(SEGMENT.filter(lambda text: "**" not in text) | st.just("**"), min_size=1, max_size=4))
def test_a_suggested_pattern_matches_all_that_the_narrower_one_matches(segments):
    names = ["a.b", "a.b.1", "b", "1.a", "a1.b1.ab"]
    narrow = Pattern(".".join(segments))
    for wider in widened(narrow.text):
        assert [name for name in names if narrow.matches(name) and not Pattern(wider).matches(name)] == []


def test_keywords_match_pieces_of_a_name_and_the_first_one_counts():
    assert keyword_in("levels.0.dcn.offset.weight", ("mask", "set.w", "offset")) == "set.w"
    assert keyword_in("a.weight", ("mask",)) is None
