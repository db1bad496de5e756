"""Optimizers that count in their groups go on where they stopped, whoever's options count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import prodigyopt
import pytest
import schedulefree
import torch

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from optimbuild.checkpoint.group_counters import counters_of
from tests.checkpoint.training import net, same, train, weights


class Counting(torch.optim.SGD):
    """Counts the steps in its groups, as timm's ``Lamb`` and ``Adan`` do."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for tensor in group["params"]:
                if tensor.grad is not None:
                    tensor.data.sub_(group["lr"] / group["step"] * tensor.grad)


KINDS = {
    "prodigy": (prodigyopt.Prodigy, {"d", "d_max", "d_numerator", "k"}),
    "schedulefree": (schedulefree.AdamWScheduleFree, {"k", "lr_max", "scheduled_lr", "train_mode", "weight_sum"}),
    "counting": (Counting, {"step"}),
}


def made(kind: str, model: Any, lr: float = 0.1) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = KINDS[kind][0](model.named_parameters(), lr=lr)
    if kind == "schedulefree":
        optimizer.train()  # type: ignore[attr-defined]
    return optimizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("through", ["config", "checkpoint", "directory"])
def test_an_optimizer_that_counts_in_its_groups_resumes_bit_for_bit(kind: str, through: str, tmp_path: Path) -> None:
    whole = net()
    optimizer = made(kind, whole)
    assert counters_of(optimizer) >= KINDS[kind][1]
    train(whole, optimizer, range(4))
    again = net()
    again.load_state_dict(whole.state_dict())
    fresh = made(kind, again)
    if through == "directory":
        save(optimizer, tmp_path)
        report = load(fresh, tmp_path)
    else:
        report = load_optimizer_state(fresh, optimizer_state(optimizer), options=through)  # type: ignore[arg-type]
    assert not report.changes
    train(again, fresh, range(4, 8))
    train(whole, optimizer, range(4, 8))
    assert same(weights(again), weights(whole))


def test_counters_come_back_while_the_lr_of_the_config_stays() -> None:
    whole = net()
    optimizer = made("counting", whole)
    train(whole, optimizer, range(3))
    slower = made("counting", whole, lr=0.05)
    report = load_optimizer_state(slower, optimizer_state(optimizer))
    assert (slower.param_groups[0]["lr"], slower.param_groups[0]["step"]) == (0.05, 3)
    assert {key for changes in report.changes.changed.values() for key in changes} == {"lr"}


@pytest.mark.parametrize("options", ["config", "checkpoint"])
def test_counters_start_afresh_with_all_parameters_of_their_group(options: Any) -> None:
    one = prodigyopt.Prodigy([("a", torch.nn.Parameter(torch.ones(2)))])
    other = prodigyopt.Prodigy([("b", torch.nn.Parameter(torch.ones(2)))])
    counting = Counting([("b", torch.nn.Parameter(torch.ones(2)))])
    for optimizer in (other, counting):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
        optimizer.step()
        load_optimizer_state(optimizer, optimizer_state(one), options, missing="init", unexpected="ignore")
    assert (other.param_groups[0]["k"], other.param_groups[0]["d"]) == (0, 1e-6)
    assert "step" not in counting.param_groups[0]


def test_groups_that_counted_differently_cannot_be_merged() -> None:
    model = net()
    pairs = list(model.named_parameters())
    apart = Counting([{"params": pairs[:1]}, {"params": pairs[1:]}])
    train(model, apart, range(1))
    apart.param_groups[0]["step"] = 7
    with pytest.raises(CheckpointError, match=r"step was saved as 7 for \S+ and as 1 for .*share a group now.*counts"):
        load_optimizer_state(made("counting", model), optimizer_state(apart))
