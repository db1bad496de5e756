"""State that another optimizer kept is told as such, where the save says which one it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, OptimBuildWarning, build_optimizer
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from tests.checkpoint.training import step

Optimizer = torch.optim.Optimizer


def built(kind: str, **more: Any) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    return model, build_optimizer({"optimizer": {"type": kind, "lr": 0.1}, **more}, model)


def trained(kind: str) -> Optimizer:
    model, optimizer = built(kind)
    step(model, optimizer)
    return optimizer


def through_directory(old: Optimizer, new: Optimizer, directory: Path) -> Any:
    save(old, directory / "state")
    return load(new, directory / "state")


WAYS: dict[str, Callable[[Optimizer, Optimizer, Path], Any]] = {
    "by name": lambda old, new, _: load_optimizer_state(new, optimizer_state(old)),
    "load_state_dict": lambda old, new, _: new.load_state_dict(optimizer_state(old)),
    "directory": through_directory,
}


@pytest.mark.filterwarnings("ignore:the options of the save count")
@pytest.mark.parametrize("way", WAYS)
def test_state_that_another_optimizer_kept_is_told_and_goes_on(way: str, tmp_path: Path) -> None:
    old, (model, new) = trained("Adam"), built("adamw")
    message = "the saved state was kept by Adam before, and by adamw now, which goes on with it. To start afresh, load"
    with pytest.warns(OptimBuildWarning, match=message):
        report = WAYS[way](old, new, tmp_path)
    kept, had = new.state[model[0].weight]["exp_avg"], next(iter(old.state.values()))["exp_avg"]
    assert torch.equal(kept, had)
    if report is not None:
        assert report.lines()[1].startswith("kept by Adam before, and by adamw now")


def without_types(state: dict[str, Any]) -> dict[str, Any]:
    for options in state["params"].values():
        del options["optimizer"]
    return state


def test_nothing_is_told_of_the_same_class_or_where_the_save_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", OptimBuildWarning)
        for kind, state in (
            ("AdamW", optimizer_state(trained("adamw"))),  # MMEngine's name of the same class
            ("adamw", optimizer_state(trained("AdamW"))),
            ("adamw", without_types(optimizer_state(trained("Adam")))),
        ):
            assert not load_optimizer_state(built(kind)[1], state).taken_over


def test_one_of_several_does_not_take_over_what_another_one_kept() -> None:
    rules = [{"type": "route", "to": "sgd", "patterns": ["1"]}]
    several = {"optimizers": {"sgd": {"type": "sgd", "lr": 0.1}}, "rules": rules}
    _, optimizer = built("adamw", **several)
    with pytest.raises(CheckpointError, match=r"stepped by Adam before, and by adamw now: 0\.weight, 0\.bias"):
        load_optimizer_state(optimizer, optimizer_state(trained("Adam")), unexpected="ignore")
    report = load_optimizer_state(optimizer, optimizer_state(trained("adamw")), missing="init")
    assert (report.loaded, report.missing) == (("0.weight", "0.bias"), ("1.weight", "1.bias"))
