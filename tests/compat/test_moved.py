"""Modules that were moved are found under their old names, and have the same objects."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import optimbuild

MOVED = [
    ("patterns", "Pattern", "model.patterns"),
    ("patterns", "PatternText", "model.patterns"),
    ("optimizer_type", "OptimizerType", "registry.optimizer_type"),
    ("optimizer_type", "Options", "registry.optimizer_type"),
    ("optimizer_type", "State", "registry.optimizer_type"),
    ("zero", "deepspeed_config", "build.zero.deepspeed"),
    ("spec", "Spec", "config.spec"),
    ("diff", "PlanDiff", "plan.diff"),
    ("memory", "Memory", "plan.memory"),
    ("schema", "config_schema", "config.schema"),
    ("params", "Inventory", "model.inventory"),
    ("params", "ParamInfo", "model.param_info"),
    ("dialects", "Reading", "config.reading"),
    ("dialects.yacs", "defaults", "config.dialects.yacs"),
    ("dialects.yacs", "TrainKeys", "config.dialects.yacs"),
    ("dialects.mmengine", "OwnKeys", "config.dialects.mmengine"),
]


@pytest.mark.parametrize(("old", "name", "new"), MOVED)
def test_an_old_module_has_the_objects_of_the_new_one(old: str, name: str, new: str) -> None:
    moved, home = (importlib.import_module(f"optimbuild.{module}") for module in (old, new))
    assert getattr(moved, name) is getattr(home, name)


@pytest.mark.parametrize(
    ("old", "name", "new", "renamed"),
    [("dialects", "read", "config.read", "read_config"), ("hooks", "Hooks", "model.hints", "Hints")],
)
def test_an_old_name_of_a_renamed_object_is_the_same_object(old: str, name: str, new: str, renamed: str) -> None:
    moved, home = (importlib.import_module(f"optimbuild.{module}") for module in (old, new))
    assert getattr(moved, name) is getattr(home, renamed)


def test_the_old_name_of_hints_is_the_same_class() -> None:
    from optimbuild.hooks import Hooks

    from optimbuild.model.hints import Hints

    assert Hooks is Hints


def test_no_old_module_hides_a_public_name() -> None:
    for old, _, _ in MOVED:
        importlib.import_module(f"optimbuild.{old}")
    assert not {old.partition(".")[0] for old, _, _ in MOVED} & set(optimbuild.__all__)


def test_importing_optimbuild_loads_no_old_module() -> None:
    code = "import sys, optimbuild; print([name for name in sys.modules if name.startswith('optimbuild')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['optimbuild']"
