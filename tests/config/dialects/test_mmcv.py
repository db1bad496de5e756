"""The dialect of mmcv 1.x: ``optimizer`` with a constructor and ``paramwise_cfg`` inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from optimbuild import ConfigError, make_plan
from optimbuild.config import read_config

OPTIMIZER = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}
CLASSIC = {"norm_decay_mult": 0.0, "custom_keys": {"0": {"lr_mult": 0.1}}}


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))


def test_the_classic_keys_are_read_as_the_default_constructor_reads_them() -> None:
    plan = make_plan({"optimizer": {**OPTIMIZER, "paramwise_cfg": CLASSIC}}, net())
    expected = make_plan({"optim_wrapper": {"optimizer": OPTIMIZER, "paramwise_cfg": CLASSIC}}, net())
    assert plan.fingerprint == expected.fingerprint
    assert plan["0.weight"].lr == 0.1 * 0.1


@pytest.mark.parametrize(
    ("more", "ignored"),
    [
        ({"flat_decay_mult": 0.0}, "flat_decay_mult"),
        ({"norm_decay": 0.0}, "norm_decay"),
        (
            {"custom_keys": {"0": {"lr_mult": 0.1, "lr": 5.0, "decay": 0.0}}},
            "custom_keys['0'].lr, custom_keys['0'].decay",
        ),
    ],
)
def test_what_the_default_constructor_of_mmcv_ignores_is_told(more: dict[str, Any], ignored: str) -> None:
    plan = make_plan({"optimizer": {**OPTIMIZER, "paramwise_cfg": {**CLASSIC, **more}}}, net())
    told = f"optimizer.paramwise_cfg: DefaultOptimizerConstructor ignores {ignored}, and so does the plan"
    assert plan.warnings == (told,)
    assert plan.fingerprint == make_plan({"optimizer": {**OPTIMIZER, "paramwise_cfg": CLASSIC}}, net()).fingerprint


def test_a_config_in_python_is_always_one_of_mmcv(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(f"optimizer = {OPTIMIZER!r}\n")
    (tmp_path / "config.py").write_text("_base_ = 'base.py'\noptimizer = dict(lr=0.2)\nmodel = dict(type='Net')\n")
    plan = make_plan(str(tmp_path / "config.py"), net())
    assert plan.groups[0].optimizer == "mmengine.SGD"  # torch's plain one, and not ours with Nesterov momentum
    assert plan["0.weight"].lr == 0.2


def test_keys_beside_it_tell_it_from_our_own_dialect() -> None:
    assert read_config({"optimizer": OPTIMIZER, "optimizer_config": {}}).spec.optimizer.type == "mmengine.SGD"
    assert read_config({"optimizer": OPTIMIZER}).spec.optimizer.type == "SGD"


@pytest.mark.parametrize(
    ("optimizer", "path"),
    [
        ({**OPTIMIZER, "constructor": "Unknown"}, "optimizer.constructor"),
        ({**OPTIMIZER, "paramwise_cfg": 5}, "optimizer.paramwise_cfg"),
        ({**OPTIMIZER, "paramwise_cfg": {"norm_decay_mult": -1}}, "optimizer.paramwise_cfg.norm_decay_mult"),
        ({**OPTIMIZER, "type": "SGDD", "paramwise_cfg": {}}, "optimizer.type"),
        ({"lr": 0.1, "paramwise_cfg": {}}, "optimizer.type"),
        ({**OPTIMIZER, "lr": -1, "paramwise_cfg": {}}, "optimizer.lr"),
    ],
)
def test_wrong_input_is_an_error_with_its_path(optimizer: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan({"optimizer": optimizer}, net())
    assert caught.value.path == path
