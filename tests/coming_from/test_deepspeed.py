"""The rows of docs/coming-from/deepspeed.md: the optimizer of DeepSpeed's config and ours train alike."""

from __future__ import annotations

import importlib.util
import json
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
OPTIMIZERS = rows("deepspeed", '`"optimizer"` of DeepSpeed\'s config')
SCHEDULERS = rows("deepspeed", '`"scheduler"` of DeepSpeed\'s config')
SLOW_STEM = {"type": "match", "table": {"stem": {"lr_mult": 0.1}}}
BATCH = torch.linspace(-1, 1, 32).reshape(4, 8)


def stepped(deepspeed: Any, config: dict[str, Any], **options: Any) -> Any:
    """Return an engine after some steps."""
    config = {**training(1), "zero_allow_untested_optimizer": True, **config}
    engine, *_ = deepspeed.initialize(config=config, **options)
    for _ in range(4):
        engine.backward(engine(BATCH).square().mean())
        engine.step()
    return engine


def weights(engine: Any) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in engine.module.named_parameters()}


def both_sides() -> list[bool]:
    """Return for each row whether both sides trained alike."""
    deepspeed, alike = deepspeed_on_cpu(), []
    for theirs, here in OPTIMIZERS:
        part, model = json.loads(theirs), net()
        if part["type"].startswith("Adam"):  # torch's, where DeepSpeed would compile one of its own first
            part["params"]["torch_adam"] = True
        there = weights(stepped(deepspeed, {"optimizer": part}, model=model, model_parameters=model.parameters()))
        model = net()
        built = build_optimizer(yaml.safe_load(here), model)
        found = weights(stepped(deepspeed, deepspeed_config(built.plan), model=model, optimizer=built))
        alike.append(all(torch.allclose(there[name], found[name], rtol=1e-6) for name in there))
    return alike


def net() -> Net:
    torch.manual_seed(0)
    return Net(depth=1)


def learning_rates() -> list[list[float]]:
    """Return the LRs that each scheduler leaves to groups whose LRs differ."""
    deepspeed, found = deepspeed_on_cpu(), []
    for scheduler, _ in SCHEDULERS:
        model, part = net(), json.loads(scheduler)
        part["params"]["warmup_num_steps"] = 2
        built = build_optimizer({"optimizer": {"type": "adamw", "lr": 1e-3}, "rules": [SLOW_STEM]}, model)
        config = {**deepspeed_config(built.plan), "scheduler": part}
        engine = stepped(deepspeed, config, model=model, optimizer=built)
        found.append([group["lr"] for group in engine.optimizer.param_groups])
    return found


def rows_and_schedulers() -> tuple[list[bool], list[list[float]]]:
    return both_sides(), learning_rates()


def test_a_row_for_deepspeed_trains_what_its_own_optimizer_trains() -> None:
    ((alike, lrs),) = run(1, rows_and_schedulers, timeout=300)
    assert alike == [True] * len(OPTIMIZERS)
    assert lrs == [[1e-3, 1e-3]] * len(SCHEDULERS)
