"""Copies and pickles of a built optimizer keep its plan and load by name; groups that are added later get names."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.checkpoint.built_optimizer import built_class, original_class
from optimbuild.registry import optimizer as registered
from tests.checkpoint.training import step
from tests.copies import COPIES

OPTIMIZER = {"type": "adamw", "lr": 0.1, "weight_decay": 0.05}
RULES = [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}, {"type": "freeze", "patterns": ["blocks.0"]}]
CONFIG = {"optimizer": OPTIMIZER, "rules": RULES}


class Hooked(nn.Module):
    """A model with hooks, which a plan refers to; square layers, so that state by position would load anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        out: torch.Tensor = self.head(x)
        return out

    def no_weight_decay(self) -> set[str]:
        return {"blocks.1.weight"}


def trained(config: dict[str, Any] = CONFIG, steps: int = 2) -> tuple[Hooked, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = Hooked()
    optimizer = build_optimizer(config, model)
    step(model, optimizer, steps)
    return model, optimizer


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("together", [True, False])
def test_a_copy_keeps_plan_and_loading_by_name(copied: Callable[[Any], Any], together: bool) -> None:
    model, optimizer = trained()
    other = copied((model, optimizer))[1] if together else copied(optimizer)
    assert type(other) is type(optimizer)
    assert other.plan == optimizer.plan  # type: ignore[attr-defined]
    state = optimizer_state(optimizer)
    state["state"] = dict(reversed(list(state["state"].items())))
    saved = copy.deepcopy(optimizer.state_dict())
    for group in saved["param_groups"]:  # another order than the optimizer's
        group["params"].reverse()
        group["param_names"].reverse()
    for given in (state, saved):
        other.state.clear()
        other.load_state_dict(given)
        found = optimizer_state(other)["state"]
        for name, entries in optimizer_state(optimizer)["state"].items():
            assert all(torch.equal(found[name][key], value) for key, value in entries.items()), name


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_trains_like_its_original(copied: Callable[[Any], Any]) -> None:
    config = {"optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9}, "implementation": "fused"}
    model, optimizer = trained(config)
    model2, other = copied((model, optimizer))
    for one, two in ((model, optimizer), (model2, other)):
        del two.state[one.head.weight]  # its first gradient comes later, which fused SGD alone cannot
        step(one, two)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), model2.parameters(), strict=True))


def test_a_copy_of_a_copy_is_a_built_optimizer_too() -> None:
    other = copy.deepcopy(pickle.loads(pickle.dumps(trained()[1])))
    with pytest.raises(CheckpointError, match="nothing says which state"):
        other.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}, {"params": [2, 3]}]})


def test_the_pickle_of_an_optimizer_does_not_hold_the_model() -> None:
    """The plan asks the model's hooks, but keeps their answers only."""
    model, optimizer = trained()
    model.register_buffer("large", torch.zeros(1_000_000))
    assert len(pickle.dumps(optimizer)) < 100_000
    other = copy.deepcopy(optimizer)
    assert other.plan.explain("blocks.1.weight") == optimizer.plan.explain("blocks.1.weight")  # type: ignore[attr-defined]


def test_the_class_of_a_built_optimizer_is_a_subclass_of_the_same_name() -> None:
    _, optimizer = trained()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert repr(optimizer).startswith("AdamW (")
    assert original_class(type(optimizer)) is torch.optim.AdamW
    assert built_class(type(optimizer)) is type(optimizer)
    assert built_class(print) is print


def test_a_class_that_allows_no_subclass_is_built_all_the_same() -> None:
    class Final(torch.optim.SGD):
        def __init_subclass__(cls) -> None:
            raise TypeError("no subclasses")

    assert built_class(Final) is Final


# --- groups that are added later --------------------------------------------------------------


def unfrozen() -> tuple[Hooked, torch.optim.Optimizer]:
    model, optimizer = trained()
    model.blocks[0].requires_grad_(True)
    return model, optimizer


def as_planned(model: nn.Module) -> dict[str, Any]:
    plan = build_optimizer({**CONFIG, "rules": RULES[:2]}, model).plan  # type: ignore[attr-defined]
    return {decision.name: decision.options for decision in plan}


def test_a_group_of_bare_tensors_gets_names_and_the_options_of_the_plan() -> None:
    model, optimizer = unfrozen()
    optimizer.add_param_group({"params": model.blocks[0].parameters()})
    added = optimizer.param_groups[-2:]
    assert [group["param_names"] for group in added] == [["blocks.0.weight"], ["blocks.0.bias"]]
    planned = as_planned(Hooked())
    for group in added:
        options = planned[group["param_names"][0]]
        assert (group["lr"], group["weight_decay"]) == (options["lr"], options["weight_decay"])
    step(model, optimizer)
    state = optimizer_state(optimizer)
    assert {"blocks.0.weight", "blocks.0.bias"} <= state["state"].keys()
    again = build_optimizer({**CONFIG, "rules": RULES[:2]}, model)
    assert not load_optimizer_state(again, state).changes


def test_options_that_a_group_gives_count() -> None:
    model, optimizer = unfrozen()
    before = len(optimizer.param_groups)
    optimizer.add_param_group({"params": list(model.blocks[0].parameters()), "lr": 7.0, "weight_decay": 0.0})
    (group,) = optimizer.param_groups[before:]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (7.0, 0.0, (0.9, 0.999))


def test_a_single_tensor_and_pairs_are_groups_too() -> None:
    model, optimizer = unfrozen()
    optimizer.add_param_group({"params": model.blocks[0].weight})
    optimizer.add_param_group({"params": [("blocks.0.bias", model.blocks[0].bias)]})
    assert [group["param_names"] for group in optimizer.param_groups[-2:]] == [["blocks.0.weight"], ["blocks.0.bias"]]


def test_a_tensor_of_no_model_is_an_error_that_shows_the_form_with_names() -> None:
    model, optimizer = unfrozen()
    adapter = nn.Linear(4, 3)
    count = len(optimizer.param_groups)
    with pytest.raises(
        CheckpointError, match=r"2 tensors .* shapes \(3, 4\), \(3,\).*\(\"head.weight\", head.weight\)"
    ):
        optimizer.add_param_group({"params": [model.blocks[0].weight, *adapter.parameters()]})
    assert len(optimizer.param_groups) == count
    optimizer.add_param_group({"params": [(f"adapter.{name}", p) for name, p in adapter.named_parameters()]})
    assert optimizer.param_groups[-1]["param_names"] == ["adapter.weight", "adapter.bias"]


def test_a_group_without_tensors_is_refused() -> None:
    _, optimizer = unfrozen()
    count = len(optimizer.param_groups)
    for nothing in ([], (), iter(())):
        with pytest.raises(CheckpointError, match="the new group has no tensors"):
            optimizer.add_param_group({"params": nothing})
    assert len(optimizer.param_groups) == count


def test_what_torch_refuses_of_a_group_stays_refused() -> None:
    model, optimizer = unfrozen()
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [model.head.weight]})
    with pytest.raises(TypeError):
        optimizer.add_param_group({"params": set(model.blocks[0].parameters())})
    with pytest.raises(TypeError):
        optimizer.add_param_group({"params": [3]})


def test_a_deep_copy_finds_names_in_the_copied_model() -> None:
    model, optimizer = copy.deepcopy(unfrozen())
    optimizer.add_param_group({"params": model.blocks[0].parameters()})
    assert optimizer.param_groups[-1]["param_names"] == ["blocks.0.bias"]
    model, optimizer = pickle.loads(pickle.dumps(unfrozen()))
    with pytest.raises(CheckpointError, match="of a model that the optimizer still knows"):
        optimizer.add_param_group({"params": model.blocks[0].parameters()})


@registered("choosy_for_this_test")
class Choosy(torch.optim.SGD):
    """Takes one group after another, and no vectors."""

    def add_param_group(self, param_group: Any) -> None:
        super().add_param_group(param_group)
        if any(tensor.ndim < 2 for tensor in self.param_groups[-1]["params"]):
            raise ValueError("no vectors")


@pytest.mark.parametrize("refused", ["a tensor that it has", "a name that it has", "a name twice", "no leaf", "choosy"])
def test_a_group_is_added_as_a_whole_or_not_at_all(refused: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    config = {
        "optimizer": {"type": "choosy_for_this_test" if refused == "choosy" else "sgd", "lr": 0.1, "weight_decay": 0.1},
        "rules": [{"type": "no_decay"}, {"type": "freeze", "patterns": ["1", "0.bias"]}],
    }
    optimizer = build_optimizer(config, model)
    new = {
        "a tensor that it has": [model[1].weight, model[1].bias, ("elsewhere", model[0].weight)],
        "a name that it has": [model[1].weight, ("0.weight", nn.Parameter(torch.zeros(2)))],
        "a name twice": [model[1].weight, ("1.weight", nn.Parameter(torch.zeros(2)))],
        "no leaf": [model[1].weight, ("1.bias", model[0].weight.sum(0))],
        "choosy": [model[1].weight, model[1].bias],
    }[refused]
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"more than one|names of 1 parameter|non-leaf|no vectors"):
        optimizer.add_param_group({"params": new})
    assert optimizer.state_dict() == before
    optimizer.add_param_group({"params": model[1].weight})
    assert optimizer.param_groups[-1]["param_names"] == ["1.weight"]
