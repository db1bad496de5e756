"""The rows of docs/coming-from/deepspeed.md: the optimizer of DeepSpeed's config and ours train alike."""

from __future__ import annotations

import copy
import importlib.util
import json
import warnings
from typing import Any

import pytest
import torch
import yaml

from optimbuild import build_optimizer
from optimbuild.build.zero.deepspeed import deepspeed_config
from tests.build.test_sharded import deepspeed_on_cpu, training
from tests.coming_from.tables import Weights, rows
from tests.distributed import run
from tests.models import Net

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="deepspeed is not installed: pip install optimbuild[deepspeed]",
)
ROWS = rows("deepspeed", '`"optimizer"` of DeepSpeed\'s config')
SCHEDULERS = rows("deepspeed", '`"scheduler"` of DeepSpeed\'s config')
BATCH = torch.linspace(-1, 1, 32).reshape(4, 8)


def trained(deepspeed: Any, config: dict[str, Any], **options: Any) -> Weights:
    engine, *_ = deepspeed.initialize(
        config={**training(1), "zero_allow_untested_optimizer": True, **config}, **options
    )
    for _ in range(3):
        engine.backward(engine(BATCH).square().mean())
        engine.step()
    return {name: tensor.detach().clone() for name, tensor in engine.module.named_parameters()}


def both_sides() -> tuple[list[bool], list[str]]:
    """Return for each row whether both sides trained alike, and for each scheduler what a step of ours warned."""
    deepspeed = deepspeed_on_cpu()
    torch.manual_seed(0)
    net, alike, told = Net(depth=1), [], []
    for theirs, here in ROWS:
        model = copy.deepcopy(net)
        part = json.loads(theirs)
        if part["type"].startswith("Adam"):  # torch's, where DeepSpeed would compile one of its own first
            part["params"]["torch_adam"] = True
        there = trained(deepspeed, {"optimizer": part}, model=model, model_parameters=model.parameters())
        model = copy.deepcopy(net)
        built = build_optimizer(yaml.safe_load(here), model)
        found = trained(deepspeed, deepspeed_config(built.plan), model=model, optimizer=built)
        alike.append(all(torch.allclose(there[name], found[name], rtol=1e-6) for name in there))
    for scheduler, _ in SCHEDULERS:
        model = copy.deepcopy(net)
        rules = [{"type": "layer_decay", "ratio": 0.5}]
        built = build_optimizer({"optimizer": {"type": "adamw", "lr": 1e-3}, "rules": rules}, model)
        config = {**deepspeed_config(built.plan), "scheduler": json.loads(scheduler)}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trained(deepspeed, config, model=model, optimizer=built)
        told.append(" ".join(str(warning.message) for warning in caught))
    return alike, told


def test_a_row_for_deepspeed_trains_what_its_own_optimizer_trains() -> None:
    ((alike, told),) = run(1, both_sides, timeout=300)
    assert alike == [True] * len(ROWS)
    assert all("no longer have the ratios of the plan" in text for text in told)
