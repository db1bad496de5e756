"""What makes large models quick to build changes nothing about what is built."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import OptimBuildError, build_optimizer
from optimbuild.build.torch_groups import parameter_groups
from optimbuild.model.keywords import first_keywords, keyword_in
from optimbuild.model.survey import survey
from tests.models import Net

CLASSES = sorted(
    name
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    if name != "Adafactor"  # transformers registers another one under this name
)
RULES = [{"type": "layer_decay", "ratio": 0.5}]


@pytest.mark.parametrize("name", CLASSES)
def test_groups_are_what_the_constructor_of_the_class_makes_of_them(name):
    """Some classes get their groups appended, which nobody may notice."""
    model = Net()
    config = {"optimizer": {"type": name, "lr": 0.1}, "rules": RULES}
    try:
        ours = build_optimizer(config, model)
    except OptimBuildError as error:  # LBFGS takes one group, Muon matrices only
        assert name in ("LBFGS", "Muon"), error  # noqa: PT017
        return
    assert len(ours.param_groups) > 3
    switches = {key: ours.defaults[key] for key in ("fused", "foreach") if ours.defaults.get(key) is not None}
    theirs = getattr(torch.optim, name)(parameter_groups(ours.plan, survey(model)), **switches)
    assert isinstance(ours, type(theirs))
    assert type(ours).__qualname__ == type(theirs).__qualname__
    assert ours.defaults.keys() == theirs.defaults.keys()
    for mine, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert list(mine) == list(other)
        assert list(map(id, mine["params"])) == list(map(id, other["params"]))
        assert all(mine[key] == other[key] for key in mine if key != "params")
    assert len(ours.state) == len(theirs.state)
    ours.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "param_names": ["late"]})


class Counting(torch.optim.SGD):
    """An optimizer that wants to hear of every group."""

    def __init__(self, params, lr=0.1):
        self.heard = []
        super().__init__(params, lr)

    def add_param_group(self, param_group):
        self.heard.append(len(self.param_groups))
        super().add_param_group(param_group)


def test_a_class_with_its_own_add_param_group_gets_every_group():
    from optimbuild import optimizer

    optimizer("counting_groups", Counting, force=True)
    built = build_optimizer({"optimizer": {"type": "counting_groups", "lr": 0.1}, "rules": RULES}, Net())
    assert built.heard == list(range(len(built.param_groups)))
    assert len(built.heard) > 1


class Regrouping(torch.optim.SGD):
    """Gives each tensor a group of its own, as a bare tensor or from a generator, and some an option more."""

    def __init__(self, params, lr=0.1):
        groups = []
        for group in params:
            for i, tensor in enumerate(group["params"]):
                more = {"dampening": 0.5} if tensor.ndim == 2 else {}
                groups.append({"params": tensor if i % 2 else (t for t in [tensor]), "lr": group["lr"], **more})
        super().__init__(groups, lr=lr)


def test_a_class_that_makes_its_own_groups_has_them_as_torch_makes_them():
    from optimbuild import optimizer

    optimizer("regrouping", Regrouping, force=True)
    model = Net()
    built = build_optimizer({"optimizer": {"type": "regrouping", "lr": 0.1}}, model)
    plain = Regrouping([{"params": list(model.parameters()), "lr": 0.1}])
    assert [{**g, "params": [id(t) for t in g["params"]]} for g in built.param_groups] == [
        {**g, "params": [id(t) for t in g["params"]]} for g in plain.param_groups
    ]


WORDS = st.text("ab.1", min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=8), st.lists(st.tuples(st.sampled_from(["", "a.1", "b.1.a", "a.11."]), WORDS)))
def test_a_keyword_is_found_whatever_names_came_before(keywords, names):
    whole = [head + rest for head, rest in names]
    assert first_keywords(whole, keywords) == [keyword_in(name, keywords) for name in whole]
