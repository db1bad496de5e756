"""What the class of an optimizer was constructed with counts for what it is expected to keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.checkpoint.constructor import constructor_arguments, option_names
from optimbuild.checkpoint.state_entries import expected_state
from optimbuild.registry import optimizer


class LowRank(torch.optim.Optimizer):
    """Keeps a buffer whose width is an argument of the constructor, and no option of its groups."""

    def __init__(self, params: Any, rank: int, lr: float = 0.1, kept: str = "float32", **others: Any) -> None:
        self.rank = rank
        self.kept = kept
        super().__init__(params, {"lr": lr, **others})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for tensor in group["params"]:
                self.state[tensor].setdefault(
                    "low", torch.zeros(len(tensor), self.rank, dtype=getattr(torch, self.kept))
                )


class Hidden(LowRank):
    """Forgets what it was given."""

    def __init__(self, params: Any, width: int = 1) -> None:
        super().__init__(params, rank=width + 1)


def stepped(cls: type, **options: Any) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = cls(nn.Linear(2, 2).named_parameters(), **options)
    made.step()
    return made


def test_an_argument_that_is_an_attribute_is_given_to_the_probe() -> None:
    three = stepped(LowRank, rank=3)
    assert constructor_arguments(three, three.param_groups[0])["rank"] == 3  # type: ignore[index]
    assert len(load_optimizer_state(stepped(LowRank, rank=3), optimizer_state(three)).loaded) == 2
    with pytest.raises(CheckpointError, match=r"weight \(low\): \(2, 3\) saved, \(2, 4\) here"):
        load_optimizer_state(stepped(LowRank, rank=4), optimizer_state(three))


def test_a_built_optimizer_is_asked_with_the_arguments_of_its_config() -> None:
    optimizer("low_rank_for_this_test")(LowRank)
    config = {"optimizer": {"type": "low_rank_for_this_test", "lr": 0.1, "rank": 3}}
    saved, fresh = (build_optimizer(config, nn.Linear(2, 2)) for _ in range(2))
    saved.step()
    load_optimizer_state(fresh, optimizer_state(saved))
    assert {tuple(found["low"].shape) for found in fresh.state.values()} == {(2, 3)}
    wider = build_optimizer({"optimizer": {**config["optimizer"], "rank": 4}}, nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"\(2, 3\) saved, \(2, 4\) here"):
        wider.load_state_dict(saved.state_dict())


def test_nobody_knows_what_a_class_keeps_that_forgot_an_argument() -> None:
    saved = stepped(Hidden, width=2)
    group = saved.param_groups[0]
    assert constructor_arguments(saved, group) is None
    assert expected_state(saved, group, group["params"][0]) is None
    load_optimizer_state(stepped(Hidden, width=2), optimizer_state(saved))


@pytest.mark.parametrize("name", ["Adagrad", "AdamW", "LBFGS", "NAdam", "SGD"])
def test_all_options_of_torchs_classes_are_arguments(name: str) -> None:
    cls = getattr(torch.optim, name)
    made = cls(nn.Linear(2, 2).parameters())
    assert made.defaults.keys() <= option_names(cls)
    assert constructor_arguments(made, made.param_groups[0]) is not None
