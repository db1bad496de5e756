"""DDP that was wrapped around a model before parts of it were frozen, with real ranks."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from optimbuild import OptimBuildWarning, build_optimizer
from tests import distributed


def trained(model: nn.Module, wrapped: nn.Module, patterns: list[str]) -> dict[str, list[float]]:
    """Take three steps on data that differ between ranks, and return the weights."""
    rules = [{"type": "freeze", "patterns": patterns}]
    optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1}, "rules": rules}, wrapped)
    data = torch.Generator().manual_seed(dist.get_rank())
    for _ in range(3):
        optimizer.zero_grad()
        wrapped(torch.randn(3, 4, generator=data)).square().sum().backward()
        optimizer.step()
    return {name: tensor.flatten().tolist() for name, tensor in model.named_parameters()}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def frozen_after_wrapping(**options: Any) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    late = network()
    after = trained(late, DistributedDataParallel(late, **options), ["0"])
    early = network()
    early[0].requires_grad_(False)
    before = trained(early, DistributedDataParallel(early, **options), ["0"])
    return after, before


@pytest.mark.parametrize("options", [{}, {"gradient_as_bucket_view": True}, {"static_graph": True}])
def test_freezing_after_wrapping_trains_like_freezing_before(options: dict[str, bool]) -> None:
    results = distributed.run(2, frozen_after_wrapping_with, options)
    for after, before in results:
        assert after == before
    assert results[0] == results[1]


def frozen_after_wrapping_with(options: dict[str, bool]) -> Any:
    return frozen_after_wrapping(**options)


def wholly_frozen_part() -> dict[str, list[float]]:
    model = network()
    model[0] = DistributedDataParallel(model[0])
    model[2] = DistributedDataParallel(model[2])
    return trained(model, model, ["0"])


def test_a_part_that_is_wholly_frozen_waits_for_nothing() -> None:
    first, second = distributed.run(2, wholly_frozen_part)
    assert first == second


def another_group() -> list[str]:
    wrapped = DistributedDataParallel(network(), process_group=dist.new_group())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_optimizer(
            {"optimizer": {"type": "sgd", "lr": 0.1}, "rules": [{"type": "freeze", "patterns": ["0"]}]}, wrapped
        )
    return [str(w.message) for w in caught if issubclass(w.category, OptimBuildWarning)]


def test_another_process_group_is_a_warning_that_says_what_to_do() -> None:
    for messages in distributed.run(2, another_group):
        (message,) = messages
        assert "before you wrap the model, or give DDP find_unused_parameters=True" in message
