"""What the name or class of an optimizer means in the config of an MMEngine runner."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import DefaultScope, Registry
from torch import nn

from optimbuild import OPTIMIZERS, UnknownNameError, make_plan


def with_type(kind: Any) -> dict[str, Any]:
    optimizer = {"type": kind, "lr": 0.1}
    return {"optim_wrapper": {"optimizer": optimizer, "constructor": "optimbuild.OptimBuildConstructor"}}


def test_a_name_that_mmengine_knows_is_mmengines_and_ours_is_ours() -> None:
    theirs = make_plan(with_type("SGD"), nn.Linear(2, 2)).groups[0]
    ours = make_plan(with_type("sgd"), nn.Linear(2, 2)).groups[0]
    assert (theirs.optimizer, theirs.options["nesterov"], theirs.options["momentum"]) == ("mmengine.SGD", False, 0)
    assert (ours.optimizer, ours.options["nesterov"], ours.options["momentum"]) == ("sgd", True, 0.9)


@pytest.mark.parametrize("kind", ["mmengine.AdamW", "torch.optim.AdamW", "torch.optim.adamw.AdamW", torch.optim.AdamW])
def test_a_class_may_be_named_by_its_scope_by_its_path_or_by_itself(kind: Any) -> None:
    assert make_plan(with_type(kind), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.AdamW"


@pytest.mark.parametrize("name", ["optimbuild.sgd", "SgD"])
def test_our_own_may_be_named_by_their_scope_or_in_another_case(name: str) -> None:
    assert make_plan(with_type(name), nn.Linear(2, 2)).groups[0].optimizer == "sgd"


@pytest.fixture
def registered() -> Iterator[None]:
    """Leave both registries as they were."""
    kept = {registry: dict(registry.module_dict) for registry in (OPTIMIZERS, MMENGINE_OPTIMIZERS)}
    children = dict(MMENGINE_OPTIMIZERS.children)
    yield
    for registry, entries in kept.items():
        registry.module_dict.clear()
        registry.module_dict.update(entries)
    MMENGINE_OPTIMIZERS.children.clear()
    MMENGINE_OPTIMIZERS.children.update(children)


@pytest.mark.usefixtures("registered")
def test_a_class_registered_with_mmengine_has_its_name_there() -> None:
    @MMENGINE_OPTIMIZERS.register_module()
    class MyAdam(torch.optim.Adam):
        pass

    for kind in ("MyAdam", MyAdam):
        assert make_plan(with_type(kind), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.MyAdam"


@pytest.mark.usefixtures("registered")
def test_a_name_that_a_user_registered_with_mmengine_wins_over_ours() -> None:
    MMENGINE_OPTIMIZERS.register_module(name="adamw", module=torch.optim.Adam)
    assert make_plan(with_type("adamw"), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.adamw"


@pytest.mark.usefixtures("registered")
def test_a_scope_comes_first_and_what_it_lacks_is_looked_for_above_it() -> None:
    child = Registry("optimizer", parent=MMENGINE_OPTIMIZERS, scope="project", locations=["tests.models"])
    child.register_module(name="SGD", module=torch.optim.Adam)
    assert make_plan(with_type("project.SGD"), nn.Linear(2, 2)).groups[0].optimizer == "project.SGD"
    assert make_plan(with_type("SGD"), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.SGD"
    assert make_plan(with_type("project.Adam"), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.Adam"
    with DefaultScope.overwrite_default_scope("project"):
        assert make_plan(with_type("SGD"), nn.Linear(2, 2)).groups[0].optimizer == "project.SGD"
        assert make_plan(with_type("Adam"), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.Adam"


@pytest.mark.usefixtures("registered")
def test_a_class_that_nobody_registered_is_registered_under_its_own_name() -> None:
    class Momentum(torch.optim.SGD):
        pass

    class AdamW(torch.optim.AdamW):
        pass

    assert make_plan(with_type(Momentum), nn.Linear(2, 2)).groups[0].optimizer == "Momentum"
    assert make_plan(with_type(Momentum), nn.Linear(2, 2)).groups[0].optimizer == "Momentum"
    name = make_plan(with_type(AdamW), nn.Linear(2, 2)).groups[0].optimizer
    assert name.endswith("AdamW")
    assert OPTIMIZERS.get(name) is AdamW
    assert OPTIMIZERS.get("adamw") is not AdamW


def test_an_entry_of_our_registry_may_be_given_itself() -> None:
    assert make_plan(with_type(OPTIMIZERS.get("sgd")), nn.Linear(2, 2)).groups[0].optimizer == "sgd"


def test_a_path_is_never_imported() -> None:
    module = "wave"  # of the standard library, and nobody needs it here
    assert module not in sys.modules
    with pytest.raises(UnknownNameError, match="a dotted path is never imported") as e:
        make_plan(with_type(f"{module}.open"), nn.Linear(2, 2))
    assert e.value.path == "optim_wrapper.optimizer.type"
    assert module not in sys.modules


def test_our_own_names_need_no_torch() -> None:
    code = (
        "import sys; from optimbuild import make_plan; "
        "plan = make_plan({'optim_wrapper': {'optimizer': {'type': 'adamw', 'lr': 1.0, 'weight_decay': 1.0}, "
        "'paramwise_cfg': {'norm_decay_mult': 0.0}}}, 'tests/golden/models/mmpretrain_deit_small.json'); "
        "assert len(plan.groups) == 2; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parents[2])
