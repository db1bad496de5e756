"""Hints: what a model answers is asked once, checked, and kept as JSON data."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import ModelError, OptimBuildError, inventory, make_plan
from optimbuild.model.hints import HOOKS, Hints
from tests.properties import examples


def answering(**hooks: Any) -> nn.Module:
    """Return a module with numbered blocks of which the hooks are the functions given."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for name, hook in hooks.items():
        object.__setattr__(module, name, hook)
    return module


def plan_with(**hooks: Any) -> Any:
    config = {
        "optimizer": {"type": "adamw", "lr": 1.0},
        "rules": [{"type": "no_decay", "one_dimensional": False, "bias": False}, {"type": "layer_decay", "ratio": 0.5}],
        "strict": False,
    }
    return make_plan(config, answering(**hooks))


def raising(*arguments: Any) -> Any:
    raise KeyError("nothing here")


ASKED = {
    "no_weight_decay": "no_weight_decay() of the model",
    "no_weight_decay_keywords": "no_weight_decay_keywords() of the model",
    "lr_decay_keywords": "lr_decay_keywords(0.5) of the model",
    "get_layer_depth": "get_layer_depth('0.weight') of the model",
    "group_matcher": "group_matcher(False) of the model",
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_is_an_error_with_its_name_cause_and_advice(hook):
    with pytest.raises(ModelError) as caught:
        plan_with(**{hook: raising})
    message = str(caught.value)
    assert message.startswith(f"{ASKED[hook]} raised KeyError: ")
    assert "nothing here" in message
    assert ("`hints: false` in no_decay" if hook.startswith("no_") else "`layers` by hand in layer_decay") in message
    assert isinstance(caught.value.__cause__, KeyError)


class Broken(nn.Linear):
    """A module whose hooks are no methods, and cannot be read."""

    @property
    def get_layer_depth(self) -> Any:
        raise KeyError("no depth")

    no_weight_decay = "weight"
    no_weight_decay_keywords = {"weight": 1}  # noqa: RUF012


class Listed(nn.Linear):
    """A module with names instead of methods."""

    no_weight_decay: Any = ("weight",)

    @property
    def no_weight_decay_keywords(self) -> set[str]:
        return {"ia"}


RULES: dict[str, dict[str, Any]] = {
    "no_weight_decay": {"type": "no_decay", "bias": False, "one_dimensional": False},
    "layers": {"type": "layer_decay", "ratio": 0.5},
}
NO_METHODS = {
    "layers": "get_layer_depth of {} raised KeyError: .*no depth.*. Mend the hook, .*`layers` by hand in layer_decay",
    "no_weight_decay": r"no_weight_decay of {} must be a method or a collection of names, not 'weight'. Mend the hook",
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("rule", NO_METHODS)
def test_a_hook_that_is_no_method_is_an_error_where_it_is_asked(rule, inside):
    model = nn.Sequential(Broken(2, 2)) if inside else Broken(2, 2)
    config: dict[str, Any] = {"optimizer": {"type": "adamw"}}
    assert make_plan(config, model)
    with pytest.raises(ModelError, match=NO_METHODS[rule].format("0" if inside else "the model")) as caught:
        make_plan({**config, "rules": [RULES[rule]]}, model)
    assert rule != "layers" or isinstance(caught.value.__cause__.__cause__, KeyError)


@pytest.mark.parametrize("inside", [False, True])
def test_names_may_stand_where_a_method_is_expected(inside):
    model = nn.Sequential(Listed(2, 2)) if inside else Listed(2, 2)
    plan = make_plan({"optimizer": {"type": "adamw", "weight_decay": 0.5}, "rules": [RULES["no_weight_decay"]]}, model)
    assert [decision.weight_decay for decision in plan] == [0, 0]


@pytest.mark.parametrize("answer", [5, {"a": ["("]}])
def test_an_error_about_a_matcher_names_the_module_that_answered(answer):
    inner = nn.Linear(2, 2)
    inner.group_matcher = lambda _: answer
    with pytest.raises(ModelError, match=r"^group_matcher\(\) of 0 (must answer|answers)"):
        make_plan({"optimizer": {"type": "adamw"}, "rules": [RULES["layers"]]}, nn.Sequential(inner))


def test_a_hook_can_be_done_without():
    model = answering(no_weight_decay=raising, get_layer_depth=raising)
    rules = [
        {"type": "no_decay", "hints": False},
        {"type": "layer_decay", "ratio": 0.5, "layers": ["{n}"]},
    ]
    plan = make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": rules}, model)
    assert [decision.lr for decision in plan] == [0.5, 0.5, 1.0, 1.0]


def generator() -> Any:
    yield "a"
    raise RuntimeError("in the middle")


NONSENSE = {
    "no_weight_decay": [3, "weight", b"weight", [3], {"a": 1, 2: 3}, [None], generator(), object()],
    "no_weight_decay_keywords": [3, "weight", [b"x"], [""], {""}],
    "lr_decay_keywords": [
        None, 3, "x", ["a"], {"a": "x"}, {"a": -0.1}, {"a": float("nan")}, {"a": float("inf")}, {"": 0.5}, {3: 0.5},
        {"a": True}, {"a": None}, {"a": 10**400}, {"a": [0.5]},
    ],
    "get_layer_depth": [
        None, 3, "ab", (1,), (1, 2, 3), (2, 2), (-1, 2), (0.5, 2), (True, 2), ("0", "2"), (None, 2),
        object(), generator(),
    ],
    "group_matcher": [
        None, 3, "x", ["a"], {"a": 3}, {"a": ["("]}, {"a": "("}, {"a": [("^0", "x")]}, {"a": r"^.*(w)"}, {"a": [3]},
        lambda name: "xy", lambda name: (), lambda name: float("nan"), lambda name: [None], lambda name: [[1]], raising,
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("hook", "answer"), [(hook, answer) for hook, answers in NONSENSE.items() for answer in answers]
)
def test_a_nonsensical_answer_is_an_error_that_names_the_hook(hook, answer):
    model = answering(**{hook: lambda *arguments: answer})
    before = {name: tensor.requires_grad for name, tensor in model.named_parameters()}
    config = {
        "optimizer": {"type": "adamw", "lr": 1.0},
        "rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}],
    }
    with pytest.raises(ModelError, match=hook) as caught:
        make_plan(config, model)
    assert len(str(caught.value)) < 500
    assert {name: tensor.requires_grad for name, tensor in model.named_parameters()} == before


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda below: (
        st.lists(below, max_size=3)
        | st.tuples(below, below)
        | st.dictionaries(st.text(max_size=3) | st.integers(), below, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=examples(400), deadline=None)
@given(st.sampled_from(HOOKS), ANSWERS, st.booleans())
def test_whatever_a_hook_answers_there_is_a_plan_or_an_error_of_ours(hook, answer, as_callable):
    value = (lambda name: answer) if as_callable else answer
    try:
        plan = plan_with(**{hook: lambda *arguments: value})
    except OptimBuildError as error:
        message = str(error)
    else:
        message = ""
        assert type(plan).from_json(plan.to_json()) == plan
    assert len(message) < 1000


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from(HOOKS), ANSWERS)
def test_whatever_a_file_says_that_a_hook_answered_is_read_or_refused(hook, answer):
    try:
        checked = Hints.from_dict({"hooks": {hook: answer}}).answers
    except OptimBuildError as error:
        checked, message = {}, str(error)
    else:
        message = ""
    assert json.loads(json.dumps(checked, allow_nan=False)) == checked
    assert len(message) < 1000


def test_answers_are_kept_as_json_and_answer_again_from_there():
    hooks = Hints(
        live={
            "no_weight_decay": lambda: {"b", "a"},
            "no_weight_decay_keywords": lambda: ("k",),
            "lr_decay_keywords": lambda ratio: {"block": np.float64(ratio)},
            "get_layer_depth": lambda name: (len(name), 9),
            "group_matcher": lambda coarse: lambda name: (1, 2) if name == "a" else float("inf"),
        }
    )
    hooks.record(["a", "bc"], [0.5])
    assert json.loads(json.dumps(hooks.answers, allow_nan=False)) == hooks.answers
    again = Hints.from_dict({"hooks": hooks.answers})
    for each in (hooks, again):
        assert each.no_weight_decay() == {"a", "b"}
        assert each.no_weight_decay_keywords() == ("k",)
        assert each.lr_decay_keywords(0.5) == {"block": 0.5}
        assert [each.get_layer_depth(name) for name in ("a", "bc")] == [(1, 9), (2, 9)]
        assert [each.group_of(name) for name in ("a", "bc")] == [(1.0, 2.0), (float("inf"),)]


def test_what_a_file_does_not_know_is_an_error_that_says_how_to_get_it():
    hooks = Hints({"lr_decay_keywords": {"0.9": {}, "0.8": {}}})
    with pytest.raises(ModelError, match=r"lr_decay_keywords\(0\.7\).*only for: 0\.9, 0\.8.*--ratio 0\.7"):
        hooks.lr_decay_keywords(0.7)
    with pytest.raises(ModelError, match=r"get_layer_depth\('a'\).*only for: nothing"):
        Hints({"get_layer_depth": {}}).get_layer_depth("a")


def test_an_empty_whole_name_does_no_harm():
    """Some models of timm answer ``{''}``."""
    assert Hints(live={"no_weight_decay": lambda: {""}}).no_weight_decay() == {""}


def test_a_hook_is_asked_once():
    asked = []
    hooks = Hints(live={"no_weight_decay": lambda: asked.append(1) or ["a"]})
    assert hooks.no_weight_decay() == hooks.no_weight_decay() == {"a"}
    assert asked == [1]


def test_planning_leaves_the_hooks_of_an_inventory_as_they_were():
    model = inventory(answering(no_weight_decay=lambda: ["0.weight"], get_layer_depth=lambda name: (0, 1)))
    config = {"optimizer": {"type": "adamw"}, "rules": [{"type": "layer_decay", "ratio": 0.5}]}
    before = copy.deepcopy(model.to_dict())
    plan = make_plan(config, model)
    assert model.to_dict() == before
    assert plan.to_json() == make_plan(config, model).to_json()
