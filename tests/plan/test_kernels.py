"""How a step is computed: what the config asks for is checked like what is chosen for it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan
from optimbuild.registry import find_optimizer


def plan(model: Inventory | None = None, implementation: str = "auto", **options: Any) -> Plan:
    config = {"optimizer": {"type": "SGD", "lr": 0.1, **options}, "implementation": implementation}
    return make_plan(config, model or inventory())


def inventory(dtype: str = "float32", on_cpu: bool = False) -> Inventory:
    return Inventory((ParamInfo("fc.weight", (4, 4), dtype=dtype),), on_cpu=on_cpu)


@pytest.mark.parametrize("kernel", ["fused", "foreach"])
def test_an_option_asks_for_a_kernel_as_the_config_does(kernel):
    assert plan(**{kernel: True}).groups[0].implementation == kernel
    assert plan(implementation=kernel).groups[0].implementation == kernel


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"fused": True, "foreach": True}, "optimizer.fused"),
        ({"fused": True, "implementation": "foreach"}, "optimizer.fused"),
        ({"foreach": True, "implementation": "for-loop"}, "optimizer.foreach"),
        ({"foreach": True, "implementation": "fused"}, "optimizer.foreach"),
    ],
)
def test_two_kernels_at_once_are_refused(given, path):
    with pytest.raises(ConfigError, match="a step is computed in one way") as caught:
        plan(**given)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "given",
    [
        {"fused": True, "differentiable": True},
        {"foreach": True, "differentiable": True},
        {"fused": True, "nesterov": False, "dampening": 0.1},
        {"fused": True, "model": inventory("complex64")},
        {"fused": False, "implementation": "fused"},
        {"foreach": False, "implementation": "foreach"},
    ],
)
def test_an_impossible_kernel_is_refused_wherever_it_is_asked_for(given):
    kernel = given.get("implementation") or next(key for key in ("fused", "foreach") if given.get(key))
    where = "implementation" if "implementation" in given else f"optimizer.{kernel}"
    with pytest.raises(ConfigError, match=f"sgd has no {kernel} implementation") as caught:
        plan(**given)
    assert caught.value.path == where


def test_adagrad_is_fused_on_accelerators_where_torch_has_the_kernel():
    fuses = not find_optimizer("Adagrad").fuses_only_on_cpu
    assert fuses == ("cuda_unsupported" not in inspect.getsource(torch.optim.Adagrad))
    elsewhere = make_plan({"optimizer": {"type": "Adagrad", "lr": 0.1}}, inventory(on_cpu=False))
    assert elsewhere.groups[0].implementation == ("fused" if fuses else "foreach")
