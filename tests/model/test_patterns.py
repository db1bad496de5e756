"""Patterns over dotted names: segments are never split, and a module covers everything below it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optimbuild.model.patterns import Pattern, looks_like_regex, widened
from tests.properties import examples


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
        ("a.{0..10}", ["a.0", "a.10", "a.7.w"], ["a.11", "a.100", "a.01", "a.x"]),
        ("a.{0,2..10,x}", ["a.0", "a.2", "a.10.w", "a.x"], ["a.1", "a.11", "a.100", "a.0x"]),
        ("a{8..11}b", ["a8b", "a10b.w"], ["a7b", "a12b", "a08b"]),
        ("a.*{9..11}", ["a.x9", "a.b10.w", "a.11"], ["a.19", "a.111", "a.1"]),
        ("{bias,norm}", ["bias", "norm.w"], ["weight", "a.bias"]),
        ("a.{b.c, d*}.w", ["a.b.c.w", "a.dd.w"], ["a.b.w", "a.c.w"]),
        ("{a,b.{c,d}}.w", ["a.w", "b.c.w", "b.d.w"], ["b.w", "c.w"]),
        ("{**.norm,head}", ["a.b.norm", "head.w"], ["a.head"]),
        ("a{b}c", ["a{b}c"], ["abc"]),
        ("*a*b*", ["ab", "xaybz.w"], ["ba", "a.b"]),
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
        ("a" * 1001, "at most 1000 characters, not 1001"),
        ("*" + "a" * 1000, "at most 1000 characters, not 1001"),
        ("a.{10..0}", "is no range: two whole numbers, the lower one first"),
        ("a.{00..11}", "without leading zeros"),
        ("a.{0..9999999999}", "at most 9 digits"),
        ("a.{0:3}", r"\{0:3\} is no range: write \{0\.\.3\}"),
        ("{a,}", r"\{a,\} has an empty alternative"),
        ("a.{b, c, +2 more}", r"\{b, c, \+2 more\} leaves names out: write them, or a pattern, instead of '\+2 more'"),
        ("a.{b,c", "a `{` without a `}` behind it"),
        ("a.{b,{c}", "a `{` without a `}` behind it"),
        ("a.b}", "a `}` without a `{` before it"),
        ("{a,b}" * 7, "make more than 100 patterns"),
        ("{" + "a," * 90 + "a}" + "b" * 100, "or more than 4000 characters"),
        (".*norm", r"no empty segment.*A regular expression has `re:` in front: 're:.\*norm'"),
        (r"^blocks\.\d+..norm$", "A regular expression has `re:` in front"),
        ("re:(", "not a regular expression"),
        ("re:a{99999999999999999999}", "not a regular expression"),
        ("re:" + "(" * 20_000, "not a regular expression"),
    ],
)
def test_a_wrong_pattern_is_refused_with_the_reason(pattern, reason):
    with pytest.raises(ValueError, match=reason):
        Pattern(pattern)


SEGMENT = st.text("ab1.*?", min_size=1, max_size=6).map(lambda text: re.sub(r"[*]+", "*", text.replace(".", "")) or "a")
SPECIAL = ["**", "{n}", "a{n}", "*{n}b", "{n}*{n}", "{0..1}", "{9..11}*", "*{1..11}a*", "?{n}", "a*{n}*"]
NAMES = st.lists(st.text("ab19", min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=examples(1000))
@given(st.lists(SEGMENT | st.sampled_from(SPECIAL), min_size=1, max_size=5), NAMES)
@example(["a", "**"], ["a"])
@example(["**", "a"], ["a"])
def test_a_pattern_means_what_a_walk_over_the_segments_says(pattern, name):
    assert Pattern(".".join(pattern)).matches(".".join(name)) == covers(pattern, name)


@given(st.lists(st.lists(SEGMENT, min_size=1, max_size=2).map(".".join), min_size=2, max_size=4), SEGMENT, NAMES)
def test_alternatives_match_what_one_of_them_matches(alternatives, end, name):
    name = ".".join(name)
    pattern = Pattern(f"a*.{{{','.join(alternatives)}}}.{end}")
    assert pattern.matches(name) == any(Pattern(f"a*.{one}.{end}").matches(name) for one in alternatives)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a*a*a*a*ab", "a" * 20_000),
        ("*a*a*a*a*ab", "a." * 10_000),
        ("**.a.**.a.**.a.**.zz", "a." * 10_000 + "a"),
        ("**." + "*a*.**." * 100 + "zz", ("a" * 20 + ".") * 1000 + "z"),
        ("a*" * 400 + "b", "a" * 5000),
        ("{n}*{n}*{n}*{n}x", "1a" * 10_000),
        ("*{n}x", "1" * 20_000),
        ("*{0..1000}*{5..77}b", "9" * 20_000),
        ("{a,aa}" * 6 + "b", "a" * 10_000),
        ("?" * 300 + "*b", "a" * 10_000),
        ("**." * 300 + "zz", "a." * 5000 + "a"),
        ("*.**." * 150 + "zz", "a." * 5000 + "a"),
    ],
)
def test_no_pattern_is_slow_on_a_name_that_nearly_matches(pattern, name):
    assert not Pattern(pattern).matches(name)  # backtracking would not end


def covers(pattern: list[str], name: list[str]) -> bool:
    """Say whether the segments of a pattern take the first segments of a name."""
    if not pattern:
        return True
    first, *rest = pattern
    if first != "**":
        return bool(name) and takes(first, name[0]) and covers(rest, name[1:])
    return bool(name) if not rest else any(covers(rest, name[skipped:]) for skipped in range(len(name) + 1))


def takes(pattern: str, text: str, before: str = "") -> bool:
    """Say whether one segment of a pattern takes the whole of one segment of a name; ``before`` is what was taken."""
    found = re.match(r"\{(n|(\d+)\.\.(\d+))\}", pattern)
    if found:
        run = re.match(r"\d*", text).group()
        low, high = (int(found[2]), int(found[3])) if found[2] else (0, 10**9)
        fits = run and not before[-1:].isdigit() and low <= int(run) <= high and (run == str(int(run)) or not found[2])
        return bool(fits) and takes(pattern[found.end() :], text[len(run) :], before + run)
    if pattern.startswith("*"):
        return any(takes(pattern[1:], text[n:], before + text[:n]) for n in range(len(text) + 1))
    if not pattern or not text:
        return pattern == text
    return pattern[0] in ("?", text[0]) and takes(pattern[1:], text[1:], before + text[0])


def test_the_numbers_of_a_name_are_its_index():
    assert Pattern("blocks.{n}").index("blocks.7.mlp.weight") == (7,)
    assert Pattern("stages.{n}.blocks.{n}").index("stages.2.blocks.17.weight") == (2, 17)
    assert Pattern("blocks.{n}").index("head.weight") is None
    assert Pattern("head").index("head.weight") == ()
    assert Pattern("**.layers.{n}").index("a.layers.3.layers.4.w") == (4,)
    assert Pattern("**.a.**.layers.{n}").index("a.layers.3.layers.4.w") == (4,)
    assert Pattern("block*{n}").index("block12.w") == (12,)
    assert Pattern("{enc,dec}.{n}").index("dec.12.w") == (12,)
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
def test_a_widened_pattern_matches_all_that_the_narrow_one_does(segments):
    names = ["a.b", "a.b.1", "b", "1.a", "a1.b1.ab"]
    narrow = Pattern(".".join(segments))
    for wider in widened(narrow.text):
        assert [name for name in names if narrow.matches(name) and not Pattern(wider).matches(name)] == []


def test_a_pattern_that_is_a_regular_expression_looks_like_one():
    for text in (r"blocks\.\d+", "^head", "norm$", "(a|b)", ".*norm.*", "layers.[0-9].w", "a.+b"):
        assert looks_like_regex(text), text
    for text in ("blocks.*.norm", "**.norm", "a.**.b", "a?.*", "*.*", "norm", "re:^a", "(", "a*b"):
        assert not looks_like_regex(text), text
