"""Depths as the model answers, or the parts of it."""

from __future__ import annotations

import ast
import collections
import importlib.util
import itertools
import json
import math
import re
import typing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import Inventory, ModelError, ParamInfo, make_plan
from optimbuild.model.depths.from_hints import depths_of, parts
from optimbuild.model.hints import Hints
from tests.golden_cases import CASES, ROOT, golden_inventory
from tests.properties import examples

MEASURED = json.loads((ROOT / "tests/golden/timm_layer_decay.json").read_text("utf-8"))["models"]
RULES = [
    {"type": "no_decay", "norm": False, "bias": False},
    {"type": "layer_decay", "ratio": 0.75},
]
CONFIG = {"optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.05}, "rules": RULES}


def inventory_of(*names: str, **hooks: Any) -> Inventory:
    return Inventory(tuple(ParamInfo(name, (2, 2)) for name in names), Hints(live=hooks))


def answered(model: Inventory) -> Any:
    """Return the depths of a model that answers for all of its parameters."""
    (part,) = parts(model)
    return depths_of(part)


# --- get_layer_depth --------------------------------------------------------------------------


def test_get_layer_depth_gives_what_mmpretrain_measured():
    case = CASES["mmpretrain_deit_small"]
    keys = case["config"]["optim_wrapper"]
    config = {
        "optimizer": {**keys["optimizer"], "type": "adamw"},
        "rules": [{"type": "layer_decay", "ratio": keys["paramwise_cfg"]["layer_decay_rate"]}],
    }
    plan = make_plan(config, golden_inventory("mmpretrain_deit_small"))
    assert {decision.name: decision.lr for decision in plan} == {row["name"]: row["lr"] for row in case["params"]}
    assert plan.notes == ("layer_decay: depths from the model's get_layer_depth(name)",)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.floats(0.01, 1))
def test_the_factor_is_the_ratio_to_the_power_of_the_distance_from_the_top(layers, ratio):
    names = [f"p{i}" for i in range(len(layers))]
    model = inventory_of(*names, get_layer_depth=lambda name: (layers[int(name[1:])], 10))
    plan = make_plan({**CONFIG, "rules": [{"type": "layer_decay", "ratio": ratio}]}, model)
    assert [decision.lr for decision in plan] == [ratio ** (10 - layer - 1) for layer in layers]


def test_different_numbers_of_layers_make_no_sense():
    with pytest.raises(ModelError, match=r"different numbers of layers: \[2, 3\]"):
        answered(inventory_of("a", "b", get_layer_depth=lambda name: (0, 2 if name == "a" else 3)))


# --- group_matcher ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEASURED)
def test_group_matcher_gives_what_timm_measured(name):
    measured = MEASURED[name]
    params = tuple(ParamInfo(row[0], (2,) * row[1]) for row in measured["params"])
    hooks = {
        "group_matcher": lambda coarse: measured["group_matcher"],
        "no_weight_decay": lambda: measured["no_weight_decay"],
    }
    plan = make_plan(CONFIG, Inventory(params, Hints(live=hooks)))
    found = [[d.name, len(d.param.shape), d.lr, d.weight_decay] for d in plan]
    assert found == measured["params"]
    (note,) = [note for note in plan.notes if note.startswith("layer_decay")]
    told, _, rest = note.partition("; what it does not match is on top: ")
    assert told == "layer_decay: depths from the model's group_matcher()"
    assert bool(rest) == any(Hints(live=hooks).group_of(param.name) == (math.inf,) for param in params)


@cache
def timms_own_helper() -> Any:
    """Return ``group_with_matcher`` of the installed timm, without importing timm, which may want a torchvision."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        pytest.skip("timm is not installed")
    source = (Path(spec.origin).parent / "models/_manipulate.py").read_text("utf-8")
    wanted = [
        node
        for node in ast.parse(source).body
        if getattr(node, "name", "") == "group_with_matcher"
        or "MATCH_PREV_GROUP =" in (ast.get_source_segment(source, node) or "")
    ]
    assert len(wanted) == 2
    namespace = {
        **vars(typing),
        **vars(itertools),
        "re": re,
        "collections": collections,
        "defaultdict": collections.defaultdict,
    }
    exec(compile(ast.Module(wanted, []), "timm", "exec"), namespace)
    return namespace["group_with_matcher"]


REGEXES = st.sampled_from(
    [
        r"^stem",
        r"^blocks\.(\d+)",
        r"^stages\.(\d+)\.(\d+)",
        r"^stages\.(\d+)",
        r"^norm",
        r"^head|neck",
        r"^(?:a)?b\.(\d+)",
    ]
)
MATCHERS = st.dictionaries(
    st.sampled_from("abcd"),
    REGEXES
    | st.none()
    | st.lists(st.tuples(REGEXES, st.sampled_from([None, (99999,), (0,), (1,)])), min_size=1, max_size=3),
    min_size=1,
)
STEMS = (
    "stem",
    "blocks.0",
    "blocks.1",
    "blocks.10",
    "stages.0.0",
    "stages.0.1",
    "stages.1.0",
    "stages.1",
    "norm",
    "b.3",
)
NAMES = st.lists(st.sampled_from([f"{stem}.{leaf}" for stem in STEMS for leaf in ("w", "b")]), min_size=1, unique=True)


@settings(max_examples=examples(200), deadline=None)
@given(MATCHERS, NAMES)
def test_random_matchers_group_as_timms_own_helper_does(matcher, names):
    theirs = timms_own_helper()([(name, None) for name in names], matcher, reverse=True)
    depths = answered(inventory_of(*names, group_matcher=lambda coarse: matcher))
    assert depths.layer_of == theirs
    assert depths.layers == max(theirs.values()) + 1


@settings(max_examples=examples(100), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.integers(0, 3) | st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 99999])),
        min_size=1,
    )
)
def test_callables_group_as_timms_own_helper_does(places):
    names = list(places)
    theirs = timms_own_helper()([(name, None) for name in names], places.__getitem__, reverse=True)
    depths = answered(inventory_of(*names, group_matcher=lambda coarse: places.__getitem__))
    assert depths.layer_of == theirs


def test_an_outer_matcher_places_a_shared_tensor_by_the_name_that_it_knows():
    inner = Hints({"group_matcher": {"blocks.0.w": [0.0]}}, of="outer.inner")
    outer = Hints(live={"group_matcher": lambda coarse: {"all": r"^inner\.blocks\.(\d+)"}}, of="outer")
    tied = ParamInfo("alias.w", (2, 2), aliases=("outer.inner.blocks.0.w",))
    model = Inventory((tied,), Hints(inner={"outer": outer, "outer.inner": inner}))
    assert [part.hints.of for part in parts(model)] == ["outer"]
