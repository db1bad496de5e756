"""The parameter groups that torch is given: an option that nobody gave is left to the constructor."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import OPTIMIZERS as MMENGINE
from torch import nn

from optimbuild import OPTIMIZERS, build_optimizer, make_plan, optimizer
from optimbuild.build.construct import APPENDABLE
from optimbuild.build.torch_groups import parameter_groups
from optimbuild.model.survey import survey
from tests.models import Net
from tests.properties import examples

CLASSES = {
    name: cls
    for name, cls in {**vars(torch.optim), **MMENGINE.module_dict}.items()
    if inspect.isclass(cls)
    and issubclass(cls, torch.optim.Optimizer)
    and name not in ("Optimizer", "Adafactor", "Muon", "ZeroRedundancyOptimizer")
}
NAMES = ("param_names", "name")
SWITCHES = ("params", *NAMES, "fused", "foreach")


@contextmanager
def registered(cls: type, **given: Any) -> Iterator[str]:
    name = f"plain_{cls.__name__.lower()}"
    optimizer(name, cls, force=True, **given)
    try:
        yield name
    finally:
        del OPTIMIZERS._module_dict[name]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *((name, {"lr": 0.125}) for name in sorted(CLASSES)),
        ("LBFGS", {"lr": 0.125, "max_iter": 8}),
        ("LBFGS", {"lr": 0.125, "max_eval": None}),
    ],
)
def test_a_group_has_what_the_class_built_by_hand_has(name, given):
    model = Net()
    with registered(CLASSES[name]) as registered_name:
        built = build_optimizer({"optimizer": {"type": registered_name, **given}}, model)
    by_hand = CLASSES[name](list(model.parameters()), **given)
    (mine,), (other,) = built.param_groups, by_hand.param_groups
    assert {k: v for k, v in mine.items() if k not in SWITCHES} == {k: v for k, v in other.items() if k not in SWITCHES}


@pytest.mark.parametrize("cls", APPENDABLE)
def test_appended_groups_are_those_that_the_constructor_makes(cls):
    model, rules = Net(), [{"type": "layer_decay", "ratio": 0.5}]
    with registered(cls) as name:
        built = build_optimizer({"optimizer": {"type": name, "lr": 0.125}, "rules": rules}, model)
        groups = parameter_groups(built.plan, survey(model))
        by_hand = cls(groups, lr=0.125)
    assert len(built.param_groups) == 5
    assert [list(group) for group in built.param_groups] == [list(group) for group in by_hand.param_groups]
    for mine, other in zip(built.param_groups, by_hand.param_groups, strict=True):
        assert list(map(id, mine["params"])) == list(map(id, other["params"]))
        assert {k: v for k, v in mine.items() if k != "params"} == {k: v for k, v in other.items() if k != "params"}
    for tensor in model.parameters():
        tensor.grad = torch.ones_like(tensor)
    built.step()


def test_lbfgs_takes_a_step():
    model = nn.Linear(3, 1)
    built = build_optimizer({"optimizer": {"type": "LBFGS", "lr": 0.1}}, model)
    before = model.weight.detach().clone()
    built.zero_grad()

    def closure() -> torch.Tensor:
        loss = model(torch.ones(2, 3)).square().sum()
        loss.backward()
        return loss

    built.step(closure)
    assert built.param_groups[0]["max_eval"] == 25
    assert not torch.equal(before, model.weight)


def test_a_plan_shows_all_options_whoever_works_them_out():
    plan = make_plan({"optimizer": {"type": "LBFGS", "lr": 0.1}}, nn.Linear(2, 2))
    assert plan.groups[0].options["max_eval"] is None


EPS = [1e-8, 1.0]


class Works(torch.optim.Optimizer):
    """Works out options as others do: betas from betas, an empty mapping and an LR from None."""

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.99), betas_1d=None, norm_kwargs=None, eps=EPS, warm=None, decay=0.0
    ):
        warm = lr / 10 if warm is None else warm
        defaults = {"lr": lr, "betas": betas, "betas_1d": betas_1d or betas, "norm_kwargs": norm_kwargs or {}}
        super().__init__(params, {**defaults, "eps": eps, "warm": warm, "decay": decay})

    def step(self, closure=None):
        for group in self.param_groups:
            for tensor in group["params"]:
                self.state[tensor] = {str(beta): torch.zeros_like(tensor) for beta in group["betas_1d"]}


GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.sampled_from([0.5, 1e-3]),
        "betas": st.just((0.5, 0.75)),
        "betas_1d": st.sampled_from([None, (0.25, 0.5)]),
        "norm_kwargs": st.sampled_from([None, {"a": 1}]),
        "warm": st.sampled_from([None, 0.0, 0.125]),
        "decay": st.sampled_from([0.0, 0.5]),
    },
)


@settings(max_examples=examples(60), deadline=None)
@given(GIVEN)
def test_what_a_constructor_works_out_is_left_to_it(given):
    with registered(Works) as name:
        model = nn.Linear(2, 2)
        built = build_optimizer({"optimizer": {"type": name, **given}}, model)
        by_hand = Works(list(model.parameters()), **given)
    expected = {key: value for key, value in by_hand.param_groups[0].items() if key != "params"}
    found = {key: value for key, value in built.param_groups[0].items() if key not in ("params", *NAMES)}
    assert found == expected


def test_the_memory_of_a_plan_counts_what_a_constructor_works_out():
    with registered(Works) as name:
        plan = make_plan({"optimizer": {"type": name}}, nn.Linear(2, 2))
        (rank,) = plan.memory().ranks
    assert rank.state == 2 * rank.parameters


def test_an_option_that_a_rule_changes_is_in_its_group_only():
    with registered(Works) as name:
        rules = [{"type": "match", "table": {"weight": {"warm": 0.25}}}]
        built = build_optimizer({"optimizer": {"type": name, "lr": 1.0}, "rules": rules}, nn.Linear(2, 2))
    assert {g["param_names"][0]: g["warm"] for g in built.param_groups} == {"weight": 0.25, "bias": 0.1}


def test_a_rule_that_goes_back_to_the_default_of_the_class_counts():
    with registered(Works) as name:
        rules = [{"type": "match", "table": {"bias": {"decay": 0.0}}}]
        built = build_optimizer({"optimizer": {"type": name, "decay": 0.5}, "rules": rules}, nn.Linear(2, 2))
    assert {g["param_names"][0]: g["decay"] for g in built.param_groups} == {"weight": 0.5, "bias": 0.0}


@pytest.mark.parametrize("how", ["defaults", "fixed"])
def test_an_option_of_the_registration_is_given(how):
    with registered(Works, **{how: {"warm": 0.75, "decay": 0.0}}) as name:
        built = build_optimizer({"optimizer": {"type": name}}, nn.Linear(2, 2))
    assert (built.param_groups[0]["warm"], built.param_groups[0]["decay"]) == (0.75, 0.0)
    assert built.defaults["warm"] == 0.75
