"""What the readings of constructors are given: the number of ranks, above all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from optimbuild import ConfigError, make_plan
from optimbuild.config.published import number_of_ranks

SCRIPT = """
import torch.distributed as dist
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore
from optimbuild import build_optimizer

dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
optimizer = dict(type="SGD", lr=0.01, weight_decay=5e-4, batch_size_per_gpu=16)
config = dict(optim_wrapper=dict(type="OptimWrapper", constructor="YOLOv5OptimizerConstructor", optimizer=optimizer))
print([group["weight_decay"] for group in build_optimizer(config, nn.Conv2d(3, 4, 1)).param_groups])
"""


def test_the_ranks_are_those_of_the_process_group() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert found.stdout == "[0.001, 0, 0]\n", found.stderr


def test_without_a_process_group_there_is_one_rank() -> None:
    assert number_of_ranks() == 1
    assert number_of_ranks(8) == 8


@pytest.mark.parametrize("ranks", [0, -1])
def test_a_number_of_ranks_below_one_is_an_error(ranks: int) -> None:
    with pytest.raises(ConfigError, match=f"must be a whole number from 1, not {ranks}") as caught:
        make_plan({"optim_wrapper": {"optimizer": {"type": "adamw"}}}, "absent.json", world_size=ranks)
    assert caught.value.path == "world_size"
