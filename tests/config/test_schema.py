"""The JSON Schema of our own dialect agrees with what the dialect accepts."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from optimbuild import ConfigError, ParamInfo, Spec, rule
from optimbuild.config.schema import NUMERIC, config_schema, optimizer_schema
from optimbuild.plan.apply import made_rule
from optimbuild.registry import RULES, find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType, Options

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
OWN = sorted(path for path in CONFIGS.glob("*.yaml") if ".yacs." not in path.name)
ADAMW = {"type": "adamw", "lr": "1e-3"}


class Entry(BaseModel):
    """Has the name of a model that another rule has as well."""

    speed: int


@rule("with_entry")
class WithEntry:
    """A rule with a nested model."""

    entry: Entry

    def __call__(self, param: ParamInfo) -> None:
        return None


@RULES.register_module("undeclared")
class Undeclared:
    """A rule that does not declare its options."""

    def __init__(self, **options: Any) -> None:
        pass

    def __call__(self, param: ParamInfo) -> None:
        return None


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_the_ready_configs_are_valid(validator, path):
    validator.validate(yaml.safe_load(path.read_text("utf-8")))


def test_the_file_in_the_package_is_what_the_command_prints():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPTIMBUILD_PLUGINS": "none"}
    command = [sys.executable, "-m", "optimbuild", "schema"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    told = "write it anew: OPTIMBUILD_PLUGINS=none optimbuild schema > optimbuild/config/schema.json"
    assert (files("optimbuild") / "config" / "schema.json").read_text("utf-8") == ran.stdout, told


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_the_ready_configs_name_the_file_for_editors(path):
    first = path.read_text("utf-8").partition("\n")[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == ROOT / "optimbuild" / "config" / "schema.json"


def accepted(config: Any) -> bool:
    """Say whether the dialect accepts a config, whatever the model."""
    try:
        spec = Spec.of(config)
        find_optimizer(spec.optimizer.type).complete(spec.optimizer.options)
        [made_rule(part, f"rules[{i}]") for i, part in enumerate(spec.rules)]
    except ConfigError:
        return False
    return True


CASES: list[tuple[bool, dict[str, Any]]] = [
    (True, {"optimizer": ADAMW}),
    (True, {"optimizer": {"type": "sgd_linear_probing", "lr": 0.1, "momentum": 0.9}}),
    (True, {"optimizer": {"type": "adamw", "betas": ["0.9", 0.95], "fused": None}, "zero": {"stage": 1}}),
    (True, {"optimizer": {"type": "RMSprop", "alpha": 0.9}}),
    (True, {"optimizer": ADAMW, "rules": [{"type": "no_decay", "keywords": ["bias_table"], "optional": True}]}),
    (True, {"optimizer": ADAMW, "rules": [{"type": "layer_decay", "ratio": 0.9, "layers": [["a", "b"], "c.{n}"]}]}),
    (True, {"optimizer": ADAMW, "rules": [{"type": "match", "table": {"a.b": {"lr_mult": 0.1}}}]}),
    (True, {"optimizer": ADAMW, "rules": [{"type": "match", "table": [{"kinds": ["norm"], "lr": 0.1}]}]}),
    (True, {"optimizer": ADAMW, "rules": [{"type": "with_entry", "entry": {"speed": 3}}]}),
    (True, {"optimizer": ADAMW, "rules": [{"type": "undeclared", "anything": 1}]}),
    (False, {}),
    (False, {"optimizer": {"lr": 0.1}}),
    (False, {"optimizer": ADAMW, "rule": []}),
    (False, {"optimizer": ADAMW, "implementation": "fast"}),
    (False, {"optimizer": ADAMW, "zero": {"stage": 2}}),
    (False, {"optimizer": {"type": "adamw", "lr": -1}}),
    (False, {"optimizer": {"type": "adamw", "lr": "fast"}}),
    (False, {"optimizer": {"type": "adamw", "momentum": 0.9}}),
    (False, {"optimizer": {"type": "sgd_linear_probing", "lr": 0.1, "momentum": 0.8}}),
    (False, {"optimizer": ADAMW, "rules": [{"type": "no_decy"}]}),
    (False, {"optimizer": ADAMW, "rules": [{"norm": True}]}),
    (False, {"optimizer": ADAMW, "rules": [{"type": "no_decay", "bais": False}]}),
    (False, {"optimizer": ADAMW, "rules": [{"type": "layer_decay"}]}),
    (False, {"optimizer": ADAMW, "rules": [{"type": "layer_decay", "ratio": 1.5}]}),
    (False, {"optimizer": ADAMW, "rules": [{"type": "match", "table": [{"kinds": ["nrom"]}]}]}),
    (False, {"optimizer": ADAMW, "rules": [{"type": "with_entry", "entry": {"pattern": "a"}}]}),
]


@pytest.mark.parametrize(("valid", "config"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_the_schema_and_the_dialect_agree(validator, valid, config):
    assert validator.is_valid(config) == accepted(config) == valid


def test_a_file_that_inherits_may_leave_to_its_base_what_is_required(validator):
    assert validator.is_valid({"BASE": "base.yaml", "optimizer": {"lr": 0.1}})
    assert not validator.is_valid({"BASE": "base.yaml", "optimiser": {"lr": 0.1}})


def test_options_carry_their_docstrings_and_defaults(validator):
    cases = validator.schema["$defs"]["RuleSpec"]["allOf"]
    options = next(c for c in cases if c["if"]["properties"]["type"]["const"] == "no_decay")["then"]["properties"]
    assert "``.bias``" in options["bias"]["description"]
    assert options["bias"]["default"] is True
    cases = validator.schema["$defs"]["OptimizerSpec"]["allOf"]
    options = next(c for c in cases if c["if"]["properties"]["type"]["const"] == "sgd")["then"]["properties"]
    assert options["momentum"]["default"] == 0.9


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_yaml_leaves_a_string_is_recognised(number):
    validator = jsonschema.Draft202012Validator({"type": "string", "pattern": NUMERIC})
    assert validator.is_valid(repr(number))


class Anything(Options):
    """Declares nothing, takes everything."""

    model_config = ConfigDict(extra="allow", frozen=True)


def test_an_open_schema_that_declares_no_option_has_a_schema():
    kind = OptimizerType("open", torch.optim.SGD, {"momentum": 0.5}, {"nesterov": True}, Anything)
    properties = optimizer_schema(kind)["properties"]
    assert properties["momentum"] == {"default": 0.5}
    assert properties["nesterov"] == {"description": "Fixed.", "const": True}
