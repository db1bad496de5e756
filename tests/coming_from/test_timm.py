"""The rows of docs/coming-from/timm.md: timm's factory and ours train alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from tests.coming_from.tables import base, changed, differing, on_cpu, ours, rows, trained

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about torch's own modules that timm imports
    timm: Any = pytest.importorskip("timm")
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import freeze

BATCH = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": 4}
    return timm.create_model("vit_tiny_patch16_224", **small)


def timms(options: str) -> Callable[[nn.Module], torch.optim.Optimizer]:
    asked = {"opt": "adamw", "lr": 1e-3, "weight_decay": 0.05} | eval(f"dict({options})")

    def make(model: nn.Module) -> torch.optim.Optimizer:
        optimizer = create_optimizer_v2(model, **asked)
        CosineLRScheduler(optimizer, t_initial=10)  # multiplies the LR of each group by its `lr_scale`
        return optimizer

    return make


@pytest.mark.parametrize(("call", "rule"), rows("timm", "`timm.utils`"))
def test_a_freezing_of_timm_is_a_rule(call: str, rule: str, model: nn.Module) -> None:
    def theirs(model: nn.Module) -> torch.optim.Optimizer:
        eval(call, {"freeze": freeze, "model": model})
        return timms("")(model)

    config = on_cpu(base("timm"))
    config["rules"] = [yaml.safe_load(rule), *config["rules"]]
    found = trained(model, ours(config), BATCH)
    assert differing(found, trained(model, theirs, BATCH)) == []
    assert torch.equal(found["blocks.0.mlp.fc1.weight"], dict(model.named_parameters())["blocks.0.mlp.fc1.weight"])


@pytest.mark.parametrize(("theirs", "here"), [("", "{}"), *rows("timm", "timm")])
def test_a_row_for_timm_trains_what_timm_trains(theirs: str, here: str, model: nn.Module) -> None:
    config = on_cpu(changed(base("timm"), here))
    assert differing(trained(model, ours(config), BATCH), trained(model, timms(theirs), BATCH)) == []
