"""Inventories: parameters as rows and columns, which names are fit to be read, and files that are no inventories."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import Inventory, ModelError, OptimBuildError, ParamInfo, inventory, make_plan
from optimbuild.model.hints import Hints
from optimbuild.model.kinds import KINDS
from optimbuild.model.patterns import Pattern
from tests.golden_cases import golden_inventory
from tests.models import Tied
from tests.properties import examples


class Scaled(nn.GroupNorm):
    """A norm by descent only."""


def test_a_file_without_kinds_gives_the_same_kinds_as_the_model():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4), nn.Embedding(3, 2), nn.LayerNorm(2), nn.Linear(2, 2), Scaled(1, 2)
    )
    data = inventory(model).to_dict()
    for row in data["params"]:
        del row["kinds"]
    assert Inventory.from_dict(data) == inventory(model)


def test_parameters_are_values_that_can_be_compared_and_hashed():
    made, again = inventory(Tied()).params, inventory(Tied()).params
    assert made == again
    assert len({*made, *again}) == len(made)


def test_a_shape_is_a_plain_tuple():
    param = inventory(nn.Linear(2, 3))["weight"]
    assert type(param.shape) is tuple
    assert repr(param) == repr(ParamInfo("weight", (3, 2), "float32", "Linear", ("Linear",), frozenset({"linear"})))


def test_an_inventory_keeps_what_it_saw_whatever_becomes_of_the_model():
    model = nn.Linear(2, 3)
    found = inventory(model)
    model.half().requires_grad_(False)
    model.weight = nn.Parameter(torch.ones(5, 5))
    assert (found["weight"].dtype, found["weight"].trainable, found["weight"].shape) == ("float32", True, (3, 2))


def test_an_inventory_can_be_copied_pickled_and_replaced():
    found = inventory(Tied())
    assert copy.deepcopy(found) == found
    assert pickle.loads(pickle.dumps(found.params)) == found.params
    assert b"torch" not in pickle.dumps(found.params)
    assert replace(found, params=found.params[:2]).names == found.names[:2]
    assert replace(found, params=iter(found.params)) == found


def test_a_golden_file_tells_norms_and_depthwise_convolutions():
    found = {p.name: p.kinds for p in golden_inventory("internimage_t")}
    assert "norm" in found["levels.0.blocks.0.norm1.0.weight"]
    assert "depthwise" in found["levels.0.blocks.0.dcn.dw_conv.0.weight"]
    assert "linear" in found["levels.0.blocks.0.dcn.offset.weight"]


# --- names -----------------------------------------------------------------------------------


UNREADABLE = ["a\x1b[31m", "a\nb", "a\tb", "a\0", "\u202ea", "a\ud800"]
MARKUP = ["[red]a", "a[/]", "[link=x]a", "<b>a", "</script>", "<img src=x onerror=y>"]


@pytest.mark.parametrize("name", [*UNREADABLE, *MARKUP, "a" * 1001])
def test_names_that_would_garble_reports_are_refused_also_as_aliases(name):
    for param in (ParamInfo(name, (1,)), ParamInfo("a", (1,), aliases=("b", name))):
        with pytest.raises(
            ModelError, match=r"parameter name .* (holds control characters or markup|has \d+ char)"
        ) as caught:
            Inventory((param,))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


def test_a_model_name_that_would_garble_reports_is_refused():
    with pytest.raises(ModelError, match="model name"):
        Inventory((ParamInfo("a", (1,)),), model="\x1b[31mNet")


def test_unusual_but_readable_names_are_names():
    names = ("größe.weight", "a-b.c d", "experts[0].w", "a<b", "λ", "w@2", "'quoted'")
    assert [param.name for param in Inventory(tuple(ParamInfo(name, (1,)) for name in names))] == list(names)


def test_a_module_with_control_characters_in_a_name_is_refused_unchanged():
    model = nn.Module()
    model.register_parameter("w\x1b[2J", nn.Parameter(torch.ones(2)))
    with pytest.raises(ModelError, match=r"'w\\x1b\[2J'"):
        make_plan({"optimizer": {"type": "adamw"}}, model)
    assert all(tensor.requires_grad for tensor in model.parameters())


def test_a_name_given_twice_is_refused():
    for params in (("a", ()), ("a", ())), (("a", ("b",)), ("b", ())), (("a", ("c",)), ("b", ("c",))):
        with pytest.raises(ModelError, match="two parameters have the name"):
            Inventory(tuple(ParamInfo(name, (1,), aliases=aliases) for name, aliases in params))


def test_a_model_without_parameters_has_nothing_to_optimize():
    with pytest.raises(ModelError, match=r"^ReLU has no parameters"):
        make_plan({"optimizer": {"type": "adamw"}}, nn.ReLU())
    with pytest.raises(ModelError, match=r"^the model has no parameters"):
        Inventory(())


MODEL = Inventory(
    (ParamInfo("backbone.norm.weight", (2,)), ParamInfo("head.weight", (2, 2), aliases=("backbone.embed.weight",))),
    model="Net",
)


def test_a_missing_name_is_an_error_with_the_closest_ones():
    with pytest.raises(ModelError, match=r"^Net has no parameter 'head\.wieght'\. Closest: head\.weight"):
        MODEL["head.wieght"]
    with pytest.raises(ModelError, match=r"^Net has no parameter 'zzz'\. The model consists of: backbone, head$"):
        MODEL["zzz"]
    with pytest.raises(ModelError, match=r"^'backbone' is a module, not a parameter\. Its parameters: ") as caught:
        MODEL["backbone"]
    assert str(caught.value).endswith("Its parameters: backbone.norm.weight, backbone.embed.weight")
    assert "backbone.embed.weight" in MODEL
    assert MODEL["backbone.embed.weight"].name == "head.weight"


def test_patterns_and_keywords_find_parameters_by_any_of_their_names():
    assert [p.name for p in MODEL.matching(Pattern("backbone"))] == ["backbone.norm.weight", "head.weight"]
    assert [p.name for p in MODEL.containing("embed")] == ["head.weight"]


def test_closest_names_cover_modules_too():
    assert MODEL.closest("backbne")[0] == "backbone"
    assert "backbone.norm" in MODEL.closest("**.backbone.nrm")
    assert MODEL.closest("zzz") == []


# --- files -----------------------------------------------------------------------------------

ROW = {"name": "a.weight", "shape": [2, 2], "owner": "Linear", "bases": ["Linear"], "trainable": True}


def test_an_inventory_survives_its_file(tmp_path):
    hooks = Hints(
        {"no_weight_decay": ["a"], "lr_decay_keywords": {"0.9": {"a": 0.9}}, "get_layer_depth": {"a": [0, 2]}}
    )
    params = (
        ParamInfo("a", (2, 3), "bfloat16", "Conv2d", ("Conv2d",), frozenset({"conv"}), False, ("b", "c")),
        ParamInfo("d", ()),
    )
    original = Inventory(params, hooks, "Net", frozenset({"a"}))
    path = tmp_path / "net.json"
    path.write_text(json.dumps(original.to_dict()))
    again = Inventory.read(path)
    assert again == original
    assert again.to_dict() == original.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {}}, "not an inventory: it must be an object with a list `params`"),
        ({"params": None}, "not an inventory"),
        ({"params": []}, "has no parameters"),
        ({"params": [3]}, "params[0] must be an object, not 3"),
        ({"params": [ROW, {**ROW, "name": 3}]}, "params[1].name must be a name, not 3"),
        ({"params": [{**ROW, "name": ["a"]}]}, "params[0].name must be a name, not ['a']"),
        ({"params": [{**ROW, "name": ""}]}, "params[0].name must be a name, not ''"),
        ({"params": [{"name": "a"}]}, "params[0].shape must be a list of whole numbers, not None"),
        ({"params": [{**ROW, "shape": "22"}]}, "params[0].shape must be a list of whole numbers, not '22'"),
        ({"params": [{**ROW, "shape": [2.0]}]}, "params[0].shape must be a list of whole numbers, not [2.0]"),
        ({"params": [{**ROW, "shape": [-1]}]}, "params[0].shape must be a list of whole numbers, not [-1]"),
        ({"params": [{**ROW, "shape": [True]}]}, "params[0].shape must be a list of whole numbers, not [True]"),
        ({"params": [{**ROW, "trainable": 1}]}, "params[0].trainable must be true or false, not 1"),
        ({"params": [{**ROW, "owner": None}]}, "params[0].owner must be the name of a class, not None"),
        ({"params": [{**ROW, "owner": "\x1b[2J"}]}, "params[0].owner must be the name of a class"),
        ({"params": [{**ROW, "bases": "Linear"}]}, "params[0].bases must be a list of names of classes, not 'Linear'"),
        ({"params": [{**ROW, "bases": [3]}]}, "params[0].bases must be a list of names of classes, not [3]"),
        ({"params": [{**ROW, "dtype": 32}]}, "params[0].dtype must be a name, such as float32, not 32"),
        ({"params": [{**ROW, "kinds": ["nrm"]}]}, "params[0].kinds must be a list of any of norm, bias, embedding"),
        ({"params": [{**ROW, "kinds": [["norm"]]}]}, "params[0].kinds must be a list of any of"),
        ({"params": [{**ROW, "kinds": "norm"}]}, "params[0].kinds must be a list of any of"),
        ({"params": [{**ROW, "aliases": "b"}]}, "params[0].aliases must be a list of names, not 'b'"),
        ({"params": [{**ROW, "aliases": [None]}]}, "params[0].aliases must be a list of names, not [None]"),
        ({"params": [ROW, ROW]}, "two parameters have the name 'a.weight'"),
        ({"params": [{**ROW, "name": "[red]a"}]}, "parameter name '[red]a' holds control characters or markup"),
        ({"model": 3}, "`model` must be a name, not 3"),
        ({"model": "\x07"}, "model name '\\x07' holds control characters"),
        ({"hooks": []}, None),
        ({"hooks": [1]}, "`hooks` must be an object with any of: no_weight_decay"),
        ({"hooks": {"no_decay": []}}, "`hooks` must be an object with any of: no_weight_decay"),
        ({"hooks": {"no_weight_decay": 3}}, "hooks.no_weight_decay answered 3"),
        ({"hooks": {"get_layer_depth": [1]}}, "hooks.get_layer_depth must be an object, not [1]"),
        ({"hooks": {"get_layer_depth": {"a": [3, 2]}}}, "hooks.get_layer_depth['a'] answered [3, 2]"),
        ({"hooks": {"lr_decay_keywords": {"0.9": {"a": -1}}}}, "hooks.lr_decay_keywords['0.9'] answered {'a': -1}"),
        ({"hooks": {"group_matcher": {"a": ["x"]}}}, "hooks.group_matcher['a'] answered ['x']"),
        ({"unfused": "a"}, "`unfused` must be a list of names, not 'a'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_inventory_says_what_is_wrong_and_where(change, message, tmp_path):
    data = {"model": "Net", "params": [ROW], "hooks": {}} | change
    path = tmp_path / "net.json"
    path.write_text(json.dumps(data))
    if message is None:
        Inventory.read(path)
        return
    with pytest.raises(ModelError) as caught:
        make_plan({"optimizer": {"type": "adamw"}}, str(path))
    assert str(caught.value).startswith(f"inventory '{path}'"[:60])
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"params: []", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"3", "not an inventory"),
        (b'{"params": [{"name": "a", "shape": [' + b"9" * 5000 + b"]}]}", "not JSON"),
        (b'{"params": [{"name": "a", "shape": [NaN]}]}', "must be a list of whole numbers"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_path(content, message, tmp_path):
    path = tmp_path / "net.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        make_plan({"optimizer": {"type": "adamw"}}, path)
    assert "net.json" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_folder_is_no_inventory(tmp_path):
    with pytest.raises(ModelError, match="Is a directory"):
        Inventory.read(tmp_path)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([*KINDS, *ROW]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from([*ROW, "x"]), below, max_size=3),
    max_leaves=5,
)
PLACES = [(key,) for key in ("model", "params", "hooks", "unfused")] + [("params", 0)] + [
    ("params", 0, key) for key in (*ROW, "dtype", "kinds", "aliases")
]  # fmt: skip


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_any_file_is_an_inventory_or_an_error_of_this_package(changes):
    data: Any = {"model": "Net", "params": [dict(ROW), {"name": "b", "shape": [2]}], "hooks": {}}
    for place, value in changes:
        node = data
        for key in place[:-1]:
            if not isinstance(node, (dict, list)) or (isinstance(node, list) and not node):
                break
            node = node[key] if isinstance(node, list) else node.get(key)
        if isinstance(node, dict) or (isinstance(node, list) and node and place[-1] == 0):
            node[place[-1]] = value
    before = copy.deepcopy(data)
    try:
        found = Inventory.from_dict(data)
    except OptimBuildError as error:
        message = str(error)
    else:
        message = ""
        assert Inventory.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    assert len(message) < 600
    assert repr(data) == repr(before)


SPELLED = st.text("ab. ", min_size=1, max_size=4)


@given(
    names=st.lists(SPELLED, min_size=1, max_size=12, unique=True), spare=st.data(), keyword=st.text("ab. ", max_size=4)
)
def test_searching_all_names_at_once_equals_searching_each_name(names, spare, keyword):
    kept = spare.draw(st.integers(1, len(names)), label="how many are no aliases")
    owners = spare.draw(st.lists(st.integers(0, kept - 1), min_size=len(names) - kept, max_size=len(names) - kept))
    aliases = [
        tuple(alias for alias, owner in zip(names[kept:], owners, strict=True) if owner == i) for i in range(kept)
    ]
    model = Inventory(tuple(ParamInfo(name, (2,), aliases=aliases[i]) for i, name in enumerate(names[:kept])))
    assert model.containing(keyword) == [p for p in model.params if any(keyword in name for name in p.names)]


def test_a_piece_of_text_does_not_reach_from_one_name_into_the_next():
    model = Inventory((ParamInfo("ab", (2,)), ParamInfo("b c", (2,))))
    assert model.containing("b b") == []
    assert [p.name for p in model.containing("b c")] == ["b c"]


class Pair(nn.Module):
    """Two modules, one with a tied tensor and the other with hints and statistics inside."""

    def __init__(self):
        super().__init__()
        self.first = Tied()
        self.second = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.second[0].no_weight_decay = lambda: {"weight"}


@pytest.mark.parametrize("module", ["first", "second", "first.layers", "second.0"])
@pytest.mark.parametrize("form", ["module", "file"])
def test_below_a_module_an_inventory_is_that_of_the_module_itself(module, form):
    model = Pair()
    whole, own = inventory(model), inventory(model.get_submodule(module))
    if form == "file":
        whole.record()
        whole = Inventory.from_dict(whole.to_dict())
    found = whole.below(module)
    assert found == own
    assert (found.statistics, found.unfused, found.sharded) == (own.statistics, own.unfused, own.sharded)
    asked = [
        [(prefix, each.no_weight_decay()) for prefix, each in i.hints.offering("no_weight_decay")] for i in (found, own)
    ]
    assert asked[0] == asked[1]
    assert found.model == f"Pair.{module}"


def test_below_a_module_that_is_not_there_the_closest_ones_are_named():
    with pytest.raises(ModelError, match=r"Pair has no module 'secund' with parameters; closest: second"):
        inventory(Pair()).below("secund")
