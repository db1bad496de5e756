"""The part of DeepSpeed's config that belongs to the optimizer."""

from __future__ import annotations

import math

import pytest

from optimbuild import ConfigError, make_plan, optimizer
from optimbuild.build.zero.deepspeed import deepspeed_config
from tests.build.zero.training import OPTIMIZERS, Sign, config_of, net


def test_the_deepspeed_config_holds_the_base_options_as_json():
    adamw = deepspeed_config(make_plan(config_of(OPTIMIZERS["adamw"]), net()))
    assert adamw["optimizer"]["type"] == "AdamW"
    assert adamw["optimizer"]["params"]["betas"] == [0.9, 0.999]
    assert math.isclose(adamw["optimizer"]["params"]["lr"], 1e-2)
    probing = deepspeed_config(make_plan(config_of(OPTIMIZERS["sgd_linear_probing"]), net()))
    assert probing["optimizer"]["params"]["weight_decay"] == 0.0
    optimizer("test_sign", Sign, force=True)
    assert "optimizer" not in deepspeed_config(make_plan({"optimizer": {"type": "test_sign"}}, net()))


def test_the_deepspeed_config_of_a_plan_with_zero_is_refused():
    with pytest.raises(ConfigError, match="leave `zero` off"):
        deepspeed_config(make_plan(config_of(OPTIMIZERS["adamw"], zero=True), net()))
