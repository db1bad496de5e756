"""The Trainer's factory takes what the Trainer gives it, and tells what of the arguments does not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ConfigError, OptimBuildWarning

pytest.importorskip("accelerate")

from transformers import TrainingArguments
from transformers.trainer_optimizer import is_optimizer_factory

from optimbuild.integrations.transformers import OptimBuild

CONFIG: dict[str, Any] = {
    "optimizer": {"type": "adamw", "lr": 1e-2, "weight_decay": 0.1},
    "rules": [{"type": "no_decay"}],
}


def arguments(folder: Path, **given: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True, **given)


def test_the_trainer_takes_it_for_a_factory_that_gets_the_model() -> None:
    assert is_optimizer_factory(OptimBuild)
    optimizer = OptimBuild()(nn.Linear(2, 2), config=CONFIG, overrides=["optimizer.lr=0.5"])
    assert [(group["name"], group["lr"]) for group in optimizer.param_groups] == [("weight", 0.5), ("bias", 0.5)]


def test_groups_instead_of_the_model_are_refused() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "weight_decay": 0.1}]
    with pytest.raises(
        ConfigError, match=r"groups of its own.*optimizers=\(optimbuild\.build_optimizer\(config, model\)"
    ):
        OptimBuild(groups, config=CONFIG)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"needs a config: optimizer_cls_and_kwargs=\(OptimBuild, \{\"config\": …\}\)"),
        ({"config": CONFIG, "overides": []}, "takes no 'overides'. Did you mean 'overrides'"),
        ({"config": CONFIG, "lr": 0.1}, "takes no 'lr'.* It takes: config, overrides, args"),
    ],
)
def test_a_wrong_argument_says_what_would_be_right(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OptimBuild()(nn.Linear(2, 2), **given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, None),
        ({"learning_rate": 1e-2, "weight_decay": 0.1}, None),
        (
            {"learning_rate": 3e-4},
            r"TrainingArguments\(learning_rate=0.0003\) has no effect.* adamw\(lr=0.01, weight_decay=0.1\)",
        ),
        (
            {"weight_decay": 0.05, "adam_beta2": 0.95},
            r"TrainingArguments\(weight_decay=0.05, adam_beta2=0.95\) has no effect",
        ),
        ({"optim": "adafactor"}, r"TrainingArguments\(optim='adafactor'\) has no effect"),
    ],
)
def test_arguments_that_the_config_replaces_are_told(tmp_path: Path, given: dict[str, Any], told: str | None) -> None:
    args = arguments(tmp_path, **given)
    if told is None:
        OptimBuild()(nn.Linear(2, 2), config=CONFIG, args=args)
    else:
        with pytest.warns(OptimBuildWarning, match=told):
            OptimBuild()(nn.Linear(2, 2), config=CONFIG, args=args)
