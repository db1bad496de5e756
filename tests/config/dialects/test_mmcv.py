"""The dialect of mmcv 1.x: ``optimizer`` with a constructor and ``paramwise_cfg`` inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from optimbuild import ConfigError, inventory, make_plan
from optimbuild.cli import main
from optimbuild.config import read_config, read_configs
from optimbuild.plan.make import plans_of_readings

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


ADAM = {"type": "Adam", "lr": 2e-4, "betas": (0.5, 0.999)}
EACH = {"generator": {**ADAM, "paramwise_cfg": {"custom_keys": {"0": {"lr_mult": 0.25}}}}, "critic": ADAM}


def gan() -> nn.Module:
    return nn.ModuleDict({"generator": net(), "critic": net()})


@pytest.mark.parametrize("key", ["optimizer", "optimizers"])
def test_several_optimizers_are_each_for_the_module_of_its_name(key: str) -> None:
    plans = plans_of_readings(read_configs({key: EACH, "model": {"type": "Gan"}}), inventory(gan()))
    assert [decision.lr for decision in plans["generator"]] == [2e-4 * 0.25, 2e-4 * 0.25, 2e-4, 2e-4]
    assert {decision.lr for decision in plans["critic"]} == {2e-4}
    assert {group.optimizer for plan in plans.values() for group in plan.groups} == {"mmengine.Adam"}


def test_one_optimizer_under_mmeditings_key_is_for_the_whole_model() -> None:
    plan = make_plan({"optimizers": {**OPTIMIZER, "paramwise_cfg": CLASSIC}}, net())
    assert plan.fingerprint == make_plan({"optimizer": {**OPTIMIZER, "paramwise_cfg": CLASSIC}}, net()).fingerprint


def test_each_of_several_may_have_its_own_constructor() -> None:
    tsm = {**OPTIMIZER, "constructor": "TSMOptimWrapperConstructor", "paramwise_cfg": {"fc_lr5": True}}
    readings = read_configs({"optimizer": {"generator": ADAM, "critic": tsm}})
    assert [rule.type for rule in readings["critic"].spec.rules] == ["groups"]


@pytest.mark.parametrize("key", ["optimizer", "optimizers"])
def test_a_file_in_python_with_several_is_planned_as_it_is(key: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "base.py").write_text(f"{key} = {EACH!r}\n")
    (tmp_path / "gan.py").write_text(f"_base_ = 'base.py'\n{key} = dict(critic=dict(lr=1.0))\nlr_config = None\n")
    (tmp_path / "model.json").write_text(json.dumps(inventory(gan()).to_dict()))
    arguments = [str(tmp_path / "gan.py"), "-m", str(tmp_path / "model.json"), "--json"]
    assert main(["plan", *arguments]) == 0
    plans = json.loads(capsys.readouterr().out)["optimizers"]
    assert [group["options"]["lr"] for group in plans["critic"]["groups"]] == [1.0]
    assert main(["plan", *arguments, "--optimizer", "critic", "--set", f"{key}.critic.lr=0.5"]) == 0
    assert [group["options"]["lr"] for group in json.loads(capsys.readouterr().out)["groups"]] == [0.5]


@pytest.mark.parametrize(
    ("wrong", "path", "message"),
    [
        ({"critic": {**ADAM, "lr": -1}}, "optimizer.critic.lr", "must be greater"),
        ({"critic": {**ADAM, "type": "Adamm"}}, "optimizer.critic.type", "unknown optimizer 'Adamm'"),
        ({"critik": ADAM}, "optimizer.critik", "has no module 'critik'"),
        ({"critic": {**ADAM, "constructor": "None"}}, "optimizer.critic.constructor", "is not known here"),
        ({"critic": {**ADAM, "paramwise_cfg": 3}}, "optimizer.critic.paramwise_cfg", "must be a mapping or null"),
    ],
)
def test_a_mistake_in_one_of_several_has_its_path(wrong: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plans_of_readings(read_configs({"optimizer": {**EACH, **wrong}}), inventory(gan()))
    assert caught.value.path == path


def test_a_plan_of_several_says_how_to_plan_one() -> None:
    with pytest.raises(ConfigError, match=r"holds 2 optimizers \(generator, critic\)") as caught:
        make_plan({"optimizer": EACH}, gan())
    assert "give {'optimizers': <what stands under 'generator'>}, and that module" in caught.value.message
    assert make_plan({"optimizers": EACH["generator"]}, gan()["generator"])["0.weight"].lr == 2e-4 * 0.25


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
