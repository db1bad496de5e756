"""Patterns that stand for many names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimbuild import Inventory, ParamInfo
from optimbuild.model.patterns import Pattern
from optimbuild.report.families import Families
from optimbuild.report.name_patterns import NamePatterns

BLOCKS = ("levels.0.blocks.0", "levels.0.blocks.1", "levels.1.blocks.0")
LAYERS = ("norm.weight", "norm.bias", "fc.weight", "fc.bias", "gamma")
NAMES = (*(f"{block}.{layer}" for block in BLOCKS for layer in LAYERS), "head.weight", "head.bias", "pos_embed")

SEGMENTS = [
    "a",
    "b",
    "0",
    "1",
    "2",
    "11",
    "norm",
    "weight",
    "x*",
    "re:y",
    "{n}",
    "{0..1}",
    "a,b",
    "c d",
    "01",
    "",
    "größe",
]
FEW = ["blocks", "fc", "norm", "1", "2", "10"]


def names_of(segments: list[str], most: int) -> st.SearchStrategy[list[str]]:
    """Return a strategy for the names of a model."""
    name = st.lists(st.sampled_from(segments), min_size=1, max_size=5).map(".".join).filter(bool)
    return st.lists(name, min_size=1, max_size=most, unique=True)


names = st.one_of(names_of(SEGMENTS, 14), names_of(FEW, 24))
widths = st.one_of(st.integers(1, 80), st.just(10**6))


@st.composite
def models(draw: st.DrawFn) -> Inventory:
    """Draw a model, some of whose parameters have other names too."""
    drawn = draw(names)
    found = [
        name for name in drawn if not any(name.startswith(f"{other}.") for other in drawn)
    ]  # a tensor has no parts
    own = draw(st.integers(1, len(found)))
    aliases: dict[str, list[str]] = {}
    for name in found[own:]:
        aliases.setdefault(draw(st.sampled_from(found[:own])), []).append(name)
    return Inventory([ParamInfo(name, (2,), aliases=tuple(aliases.get(name, ()))) for name in found[:own]])


@given(models(), st.data(), widths)
def test_a_summary_pasted_as_a_pattern_catches_all_but_the_rest_it_tells(model, data, width):
    ours = data.draw(st.lists(st.sampled_from(model.names), min_size=1, unique=True))
    summary = NamePatterns.of(model).summary(ours, width)
    pattern, rest = re.fullmatch(r"(.*?)(?:, \+(\d+) tensors?)?", summary).groups()
    caught = {param.name for param in model.matching(Pattern(pattern))}
    assert caught <= set(ours)
    assert len(ours) - len(caught) == int(rest or 0)


@given(names, st.data(), st.integers(1, 80))
def test_only_a_summary_of_one_pattern_is_wider_than_asked_for(everything, data, width):
    ours = data.draw(st.lists(st.sampled_from(everything), min_size=1, unique=True))
    pattern, *rest = NamePatterns(Families(everything)).summary(ours, width).split(", +")
    assert len(", +".join([pattern, *rest])) <= width or not re.search(r"\{[^{}]*,|\|", pattern)


def test_what_is_left_counts_what_skipped_patterns_cover():
    everything = ["10.11.1.weight", "1.11.3.11.bias", "2.2.head.norm.weight", "11.2.levels.head.bias", "2.w"]
    everything += ["blocks.0.fc.weight", "blocks.0.fc.bias"]
    ours = [name for name in everything if name != "1.11.3.11.bias"]
    assert NamePatterns(Families(everything)).summary(ours, 20) == "{2,11}, +3 tensors"


def test_a_pattern_may_be_the_beginning_of_another():
    everything = ["b.norm.x", "b.5.norm.x", "b.10.norm.x", "b.10.fc.x", "l.1.b.0.norm.x", "l.1.b.0.fc.x"]
    ours = [everything[0], everything[2], everything[4]]
    assert NamePatterns(Families(everything)).summary(ours) == "{b,b.10,l.1.b.0}.norm"


def test_no_names_have_no_patterns():
    assert NamePatterns(Families(NAMES)).each([]) == []


@pytest.mark.parametrize(
    ("chosen", "width", "summary"),
    [
        (NAMES, 60, "**"),
        ([n for n in NAMES if n.startswith("levels.0")], 60, "levels.0"),
        ([n for n in NAMES if n.endswith("bias")], 60, "**.bias"),
        ([n for n in NAMES if "norm" in n or "gamma" in n], 60,
         "levels.{0..1}.blocks.{0..1}.{norm,gamma}"),
        ([n for n in NAMES if n.startswith("levels.0.blocks.1") and "weight" in n], 60,
         "levels.0.blocks.1.**.weight"),
        ([n for n in NAMES if n.startswith("levels.0.blocks.1") and "norm" not in n], 60,
         "levels.0.blocks.1.{fc,gamma}"),
        ([n for n in NAMES if n.startswith("levels.0.blocks.1") and "norm" not in n], 20,
         "levels.0.blocks.1.fc, +1 tensor"),
        (["head.weight", "pos_embed", "levels.0.blocks.1.gamma"], 30, "pos_embed, +2 tensors"),
        (["pos_embed"], 3, "pos_embed"),
    ],
)  # fmt: skip
def test_a_summary_is_short_and_exact(chosen, width, summary):
    assert NamePatterns(Families(NAMES)).summary(chosen, width) == summary


@pytest.mark.parametrize(
    ("left_out", "summary"),
    [
        ((), "blocks.{0..11}.fc"),
        ((5,), "blocks.{{0..4},{6..11}}.fc"),
        ((0, 11), "blocks.{1..10}.fc"),
        (range(1, 12), "blocks.0.fc.w"),
    ],
)
def test_numbers_are_ranges(left_out, summary):
    everything = [f"blocks.{i}.{layer}.w" for i in range(12) for layer in ("fc", "norm")]
    ours = [f"blocks.{i}.fc.w" for i in range(12) if i not in left_out]
    assert NamePatterns(Families(everything)).summary(ours) == summary


def test_a_range_may_go_over_numbers_that_no_such_name_has():
    everything = [*[f"layers.{i}.mlp" for i in range(8)], *[f"layers.{i}.router" for i in (1, 3, 5, 7)]]
    assert NamePatterns(Families(everything)).summary(everything[8:11]) == "layers.{1..5}.router"


def test_a_range_of_two_numbers_fits_levels_of_different_depth():
    everything = [
        f"levels.{i}.blocks.{j}.{leaf}" for i, n in enumerate((2, 3, 9, 2)) for j in range(n) for leaf in "wb"
    ]
    names = NamePatterns(Families(everything))
    assert names.summary([n for n in everything if n.endswith("w")]) == "levels.{0..3}.blocks.{0..8}.w"
    assert names.summary([n for n in everything if n.startswith(("levels.2", "levels.3"))]) == "levels.{2..3}"


def test_a_name_that_no_glob_can_write_becomes_a_regular_expression():
    assert NamePatterns(Families(("x*.w", "xy.w"))).summary(["x*.w"]) == r"re:^x\*\.w$"


def test_a_pattern_that_matches_an_alias_of_another_parameter_is_not_used():
    model = Inventory([ParamInfo("a.bias", (2,)), ParamInfo("b.bias", (2,)), ParamInfo("c", (2,), aliases=("d.bias",))])
    assert NamePatterns.of(model).summary(["a.bias", "b.bias"]) == "{a,b}"
    assert NamePatterns.of(model).summary(["a.bias", "b.bias", "c"]) == "**"


def test_what_a_pattern_catches_by_another_name_is_not_left():
    model = Inventory([ParamInfo("x*", (2,), aliases=("a.a",)), ParamInfo("a", (2,)), ParamInfo("b", (2,))])
    assert NamePatterns.of(model).summary(["x*", "a"]) == "a"


def test_patterns_of_many_names_without_structure_match_no_other_name():
    modules = [f"m{i}.inner" if i % 7 else f"m{i}.{'inner' if i % 2 else ''}.inner" for i in range(1200)]
    everything = [f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")]
    names = NamePatterns(Families([*everything, "inner.scale"]))
    weights = [name for name in everything if name.endswith("weight")]
    for ours in (weights, weights[3:], everything, everything[:-1]):
        pattern, _, rest = names.summary(ours).partition(", +")
        found = set(filter(Pattern(pattern).matches, names.families.names))
        assert found <= set(ours)
        assert len(found) + int((rest or "0").split()[0]) == len(ours)


def test_one_pattern_covers_many_names_without_structure_that_end_alike():
    everything = [f"m{i}.inner.{leaf}" for i in range(1200) for leaf in ("weight", "bias")]
    assert NamePatterns(Families(everything)).summary(everything[::2]) == "**.weight"
