"""Several optimizers in one ``optim_wrapper``, and an optimizer for some modules of a model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from optimbuild import ConfigError, Inventory, ParamInfo, inventory, make_plan
from optimbuild.cli import main
from optimbuild.config import read_configs
from optimbuild.plan.make import plans_of_readings
from tests.models import Net

OURS = "optimbuild.OptimBuildConstructor"
GENERATOR = {"optimizer": {"type": "AdamW", "lr": 1e-4}, "paramwise_cfg": {"rules": [{"type": "no_decay"}]}}
CRITIC = {"optimizer": {"type": "AdamW", "lr": 4e-4}}
BOTH = {"constructor": OURS, "generator": GENERATOR, "critic": CRITIC}


class Gan(nn.Module):
    """Two models."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = Net()
        self.critic = Net(depth=2)


def write(folder: Path, wrapper: Any) -> list[str]:
    """Write a config and a model, and return the arguments that name them."""
    (folder / "gan.json").write_text(json.dumps({"optim_wrapper": wrapper}))
    (folder / "model.json").write_text(json.dumps(inventory(Gan()).to_dict()))
    return [str(folder / "gan.json"), "-m", str(folder / "model.json")]


def test_each_optimizer_is_planned_for_its_module_as_a_runner_builds_it() -> None:
    model = Gan()
    plans = plans_of_readings(read_configs({"optim_wrapper": BOTH}), inventory(model))
    logging.disable()
    wrappers = build_optim_wrapper(model, BOTH)
    logging.disable(logging.NOTSET)
    assert list(plans) == ["generator", "critic"]
    for name, plan in plans.items():
        assert plan.fingerprint == wrappers[name].optimizer.plan.fingerprint


def test_the_command_line_shows_all_optimizers_or_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write(tmp_path, BOTH)
    assert main(["plan", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("generator:\n")
    assert "\ncritic:\n" in out
    assert main(["plan", *arguments, "--json"]) == 0
    both = json.loads(capsys.readouterr().out)["optimizers"]
    assert main(["plan", *arguments, "--json", "--optimizer", "critic"]) == 0
    assert json.loads(capsys.readouterr().out) == both["critic"]
    assert main(["explain", *arguments, "norm.bias", "--optimizer", "generator"]) == 0
    assert "no_decay" in capsys.readouterr().out
    for whole, below in (("generator.norm.bias", "norm.bias"), ("generator.norm", "norm"), ("generator", "**")):
        shown = []
        for name in (whole, below):
            assert main(["explain", *arguments, name, "--optimizer", "generator"]) == 0
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
    assert main(["diff", arguments[0], *arguments, "--optimizer", "critic"]) == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["plan", "--optimizer", "critik"],
            "no optimizer 'critik'. Did you mean 'critic'? There are: generator, critic.",
        ),
        (["explain", "norm.bias"], "this config has 2 optimizers; choose one with --optimizer: generator, critic"),
    ],
)
def test_a_wrong_choice_among_optimizers_lists_them(
    command: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command
    assert main([name, *write(tmp_path, BOTH), *rest]) == 2
    assert message in capsys.readouterr().err


def test_a_single_optimizer_has_no_name_to_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *write(tmp_path, CRITIC), "--optimizer", "critic"]) == 2
    assert "It has one, without a name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrapper", "path", "message"),
    [
        ({**BOTH, "discriminator": CRITIC}, "optim_wrapper.discriminator", r"Gan has no module 'discriminator'"),
        ({**BOTH, "accumulative_counts": 2}, "optim_wrapper.accumulative_counts", r"each key must name a module"),
        ({**BOTH, "generator": {**CRITIC, "modules": ["a"]}}, "optim_wrapper.generator", r"no module is called 'a'"),
        ({**BOTH, "generator.norm": CRITIC}, "optim_wrapper['generator.norm']", r"is optimized by 'generator' too"),
        ({**BOTH, "critic": {"optimizer": {"type": "AdamV"}}}, "optim_wrapper.critic.optimizer.type", r"unknown"),
    ],
)
def test_a_mistake_in_one_of_several_is_an_error_with_its_path(wrapper: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plans_of_readings(read_configs({"optim_wrapper": wrapper}), inventory(Gan()))
    assert caught.value.path == path


MULTI = "MultiOptimWrapperConstructor"
MISPLACED: list[tuple[dict[str, Any], str]] = [
    ({"critic": {**CRITIC, "modules": 3}}, "critic.modules"),
    ({"critic": {**CRITIC, "constructor": "TSMOptimWrapperConstructor"}}, "critic.constructor"),
    ({"critic": {**CRITIC, "constructor": "DefaultOptimWrapperConstructor"}}, "critic.constructor"),
    ({"type": "AmpOptimWrapper"}, "type"),
    ({"type": None}, "type"),
    ({"critic": None}, "critic"),
    ({"clip_grad": {"max_norm": 1.0}}, "clip_grad"),
]


@pytest.mark.parametrize(("wrong", "path"), MISPLACED, ids=[path for _, path in MISPLACED])
def test_what_is_misplaced_beside_or_in_several_is_one_mistake_everywhere(wrong: dict[str, Any], path: str) -> None:
    config = {**BOTH, **wrong}
    with pytest.raises(ConfigError) as read:
        read_configs({"optim_wrapper": config})
    with pytest.raises(ConfigError) as built:
        build_optim_wrapper(Gan(), config)
    assert read.value.path == built.value.path == f"optim_wrapper.{path}"
    assert read.value.message.partition("this is")[0] == built.value.message.partition("this is")[0]


def test_an_unknown_constructor_beside_several_is_refused_where_it_is() -> None:
    with pytest.raises(ConfigError, match="how 'PGGANOptimWrapperConstructor' reads") as caught:
        read_configs({"optim_wrapper": {**BOTH, "constructor": "PGGANOptimWrapperConstructor", "lr_schedule": {}}})
    assert caught.value.path == "optim_wrapper.constructor"


@pytest.mark.parametrize("kind", ["OptimWrapper", "OptimWrapperDict"])
def test_the_type_that_a_strategy_puts_beside_several_is_passed_over(kind: str) -> None:
    config = {**BOTH, "type": kind, "critic": {**CRITIC, "constructor": OURS, "type": "AmpOptimWrapper"}}
    assert list(read_configs({"optim_wrapper": config})) == ["generator", "critic"]
    logging.disable()
    assert len(build_optim_wrapper(Gan(), {**BOTH, "type": kind})) == 2
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"paramwise_cfg": {}}, "paramwise_cfg"),
        ({"type": "OptimWrapperDict"}, "type"),
        ({"critic": {**CRITIC, "constructor": "DefaultOptimWrapperConstructor"}}, "critic.constructor"),
    ],
)
def test_where_mmagics_constructor_fails_with_several_a_plan_does(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_configs({"optim_wrapper": {**BOTH, "constructor": f"mmagic.{MULTI}", **wrong}})
    assert caught.value.path == f"optim_wrapper.{path}"


SEPARATE = "mmrazor.SeparateOptimWrapperConstructor"


def test_mmrazors_constructor_gives_each_module_its_optimizer() -> None:
    keys = {"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.5}, "paramwise_cfg": {"bias_decay_mult": 0.0}}
    wrapper = {"constructor": SEPARATE, "generator": keys, "critic": CRITIC}
    plans = plans_of_readings(read_configs({"optim_wrapper": wrapper}), inventory(Gan()))
    assert {group.optimizer: group.options["lr"] for plan in plans.values() for group in plan.groups} == {
        "mmengine.SGD": 0.1,
        "mmengine.AdamW": 4e-4,
    }
    assert (plans["generator"]["head.bias"].weight_decay, plans["generator"]["head.weight"].weight_decay) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("wrapper", "path"),
    [
        (CRITIC, ""),
        ({"critic": {**CRITIC, "modules": "critic"}}, ".critic.modules"),
        ({"critic": {**CRITIC, "modules": None}}, ".critic.modules"),
        ({"generator.head": CRITIC}, "['generator.head']"),
        ({"critic": CRITIC, "paramwise_cfg": {}}, ".paramwise_cfg"),
        ({"critic": CRITIC, "type": "OptimWrapper"}, ".type"),
        ({"critic": {**CRITIC, "constructor": "DefaultOptimWrapperConstructor"}}, ".critic.constructor"),
        ({"critik": CRITIC}, ".critik"),
    ],
)
def test_where_mmrazors_constructor_fails_a_plan_does(wrapper: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plans_of_readings(read_configs({"optim_wrapper": {**wrapper, "constructor": SEPARATE}}), inventory(Gan()))
    assert caught.value.path == f"optim_wrapper{path}"


# --- overrides -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    ["optim_wrapper.critic.optimizer.lr=0.5", "optim_wrapper['critic'].optimizer={type: AdamW, lr: 0.5}"],
)
def test_an_override_reaches_one_of_several_optimizers(override: str) -> None:
    readings = read_configs({"optim_wrapper": BOTH}, [override])
    assert [reading.spec.optimizer.options["lr"] for reading in readings.values()] == [1e-4, 0.5]


def test_an_override_of_one_of_several_works_at_the_command_line(tmp_path: Path, capsys: Any) -> None:
    arguments = write(tmp_path, BOTH)
    override = "optim_wrapper.critic.paramwise_cfg={rules: [{type: no_decay}]}"
    assert main(["plan", *arguments, "--set", override, "--optimizer", "critic", "--json"]) == 0
    assert {group["options"]["weight_decay"] for group in json.loads(capsys.readouterr().out)["groups"]} == {0.0, 0.01}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim_wrapper.optimizer.lr=1", "unknown key 'optimizer'. Did you mean 'optim_wrapper.generator.optimizer'?"),
        ("optim_wrapper.critik.optimizer.lr=1", "unknown key 'critik'. Did you mean 'critic'?"),
        (
            "optim_wrapper.critic.clip_grad=1",
            "unknown key 'clip_grad'. Known: optimizer, paramwise_cfg, constructor, modules.",
        ),
        ("optim_wrapper.modules=[a]", "unknown key 'modules'. Did you mean 'optim_wrapper.generator.modules'?"),
        ("critic.optimizer.lr=1", "unknown key 'critic'. Did you mean 'optim_wrapper.critic'?"),
    ],
)
def test_an_override_of_no_key_of_several_says_what_there_is(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_configs({"optim_wrapper": BOTH}, [override])
    assert message in caught.value.message


def test_what_no_optimizer_has_is_told() -> None:
    config = {"critic": CRITIC, "generator.head": CRITIC}
    plans = plans_of_readings(read_configs({"optim_wrapper": config}), inventory(Gan()))
    (warning,) = plans["critic"].warnings
    assert warning.startswith("trainable, and in no optimizer: generator.pos_embed, ")


def test_a_paramwise_cfg_beside_them_serves_those_without_one() -> None:
    cfg = {"rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}]}
    readings = read_configs({"optim_wrapper": {**BOTH, "paramwise_cfg": cfg}})
    assert [len(reading.spec.rules) for reading in readings.values()] == [1, 2]


# --- modules ---------------------------------------------------------------------------------

MODEL = Inventory(
    tuple(ParamInfo(n, (2, 2)) for n in ("vae.w", "unet.a.w", "unet.a.lora_mapping.w", "unet.b.w", "scale"))
)


@pytest.mark.parametrize(
    ("modules", "trained"),
    [
        ("unet", ["unet.a.w", "unet.a.lora_mapping.w", "unet.b.w"]),
        (["vae", "unet.b"], ["vae.w", "unet.b.w"]),
        (".*.lora_mapping", ["unet.a.lora_mapping.w"]),
        (".*", [*MODEL.names]),
        (["unet", "vae", "scale"], [*MODEL.names]),
    ],
)
def test_modules_restrict_an_optimizer_to_them(modules: Any, trained: list[str]) -> None:
    plan = make_plan({"optim_wrapper": {**CRITIC, "constructor": OURS, "modules": modules}}, MODEL)
    assert [decision.name for decision in plan if not decision.frozen] == trained


def test_a_runner_restricts_an_optimizer_to_modules() -> None:
    model = Gan()
    logging.disable()
    wrapper = build_optim_wrapper(model, {**CRITIC, "constructor": OURS, "modules": ["critic"]})
    logging.disable(logging.NOTSET)
    assert wrapper.optimizer.param_groups[0]["param_names"] == [
        f"critic.{n}" for n, _ in model.critic.named_parameters()
    ]
    assert not any(tensor.requires_grad for tensor in model.generator.parameters())


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"modules": "unett"}, "modules[0]", "'unett' matches no parameter"),
        ({"modules": ["("]}, "modules[0]", "is not a regular expression"),
        ({"modules": 3}, "modules", "must be the name of a module, a regular expression, or a list of them"),
        ({"modules": []}, "modules", "must be the name of a module"),
        ({"modules": "unet", "constructor": "DefaultOptimWrapperConstructor"}, "modules", "is read by"),
        (
            {"modules": "unet", "constructor": "MultiOptimWrapperConstructor", "paramwise_cfg": {"bias_lr_mult": 2.0}},
            "paramwise_cfg",
            "takes none beside `modules`",
        ),
    ],
)
def test_wrong_modules_are_an_error_with_their_path(keys: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan({"optim_wrapper": {**CRITIC, "constructor": OURS, **keys}}, MODEL)
    assert caught.value.path == f"optim_wrapper.{path}"
    assert message in caught.value.message
