"""The optimizers that timm, Hugging Face's Trainer, MMEngine and InternVL really make: every value is theirs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from optimbuild import audit
from tests.auditing.published import ALL, published
from tests.models import Net


def read(optimizer: Any, model: nn.Module, *more: str) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return what the groups have and what the audit's plan has, by name, and the ids of the findings."""
    name_of = {id(tensor): name for name, tensor in model.named_parameters()}
    keys = ("lr", "weight_decay", "betas", *more)
    plain = {id(group): tuple(group.get(key) for key in keys) for group in optimizer.param_groups}
    theirs = {name_of[id(p)]: plain[id(group)] for group in optimizer.param_groups for p in group["params"]}
    found = audit(optimizer, model)
    ours = {d.name: tuple((d.options or {}).get(key) for key in keys) for d in found.plan if not d.frozen}
    return theirs, ours, [finding.id for finding in found.findings]


def test_what_the_trainer_makes_is_read_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs it")
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(tmp_path), learning_rate=3e-4, weight_decay=0.1, use_cpu=True, report_to=[], warmup_steps=5
    )
    model = Net()
    trainer = Trainer(model, arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.create_optimizer_and_scheduler(100)
    theirs, ours, ids = read(trainer.optimizer, model)
    assert {name: (0.0, *setting[1:]) for name, setting in ours.items()} == theirs
    assert {setting[0] for setting in ours.values()} == {3e-4}  # before the warm-up, which begins at 0
    told = [id_ for id_ in ids if id_ != "unused-fused-kernel"]  # which older releases of the Trainer do not ask for
    assert told == ["decay-on-norm", "decay-on-gain"]  # the batch norm's gain, and the table of shape (1, 1, 8)


CONSTRUCTOR = {
    "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05, "betas": (0.9, 0.95)},
    "paramwise_cfg": {
        "norm_decay_mult": 0.0,
        "bias_decay_mult": 0.0,
        "bias_lr_mult": 2.0,
        "flat_decay_mult": 0.0,
        "custom_keys": {"stem": {"lr_mult": 0.1}, "head": {"lr_mult": 10.0, "decay_mult": 0.5}},
    },
}


def test_what_mmengine_makes_is_read_as_it_is() -> None:
    from mmengine.optim import build_optim_wrapper

    model = Net()
    wrapper = build_optim_wrapper(model, {"type": "OptimWrapper", **CONSTRUCTOR})
    theirs, ours, ids = read(wrapper.optimizer, model)
    assert ours == theirs
    assert ids == ["decay-on-norm", "decay-on-bias", "decay-on-gain", "equal-groups", "unused-fused-kernel"]


@pytest.mark.parametrize("name", ALL)
def test_what_a_builder_or_constructor_made_is_read_as_it_was(name: str) -> None:
    optimizer, model = published(name)
    theirs, ours, ids = read(optimizer, model)
    trained = {name for name, tensor in model.named_parameters() if tensor.requires_grad}
    assert ours == {name: setting for name, setting in theirs.items() if name in trained}
    assert ("frozen-in-group" in ids) == (len(ours) < len(theirs))  # as InternImage's builder freezes
    assert ("equal-groups" in ids) == (len(theirs) > 8)


def timms(layer_decay: float | None) -> tuple[Any, nn.Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own modules that timm imports
        timm: Any = pytest.importorskip("timm")
        from timm.optim import create_optimizer_v2

        model = timm.create_model("vit_tiny_patch16_224", depth=3)
    return create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=layer_decay), model


def test_what_timm_makes_is_read_as_it_is() -> None:
    theirs, ours, ids = read(*timms(None))
    assert ours == theirs
    assert ids == ["unused-fused-kernel"]


def test_layer_decay_of_timm_is_told_under_a_scheduler_of_torch_only() -> None:
    optimizer, model = timms(0.75)
    from timm.scheduler import CosineLRScheduler

    theirs, ours, ids = read(optimizer, model, "lr_scale")
    assert ours == theirs
    assert ids == ["unused-fused-kernel", "ignored-lr-scale", "first-group-is-deepest"]
    scheduler = CosineLRScheduler(optimizer, t_initial=10, warmup_t=0)
    scheduler.step(3)
    found = audit(optimizer, model)
    assert "ignored-lr-scale" not in [finding.id for finding in found.findings]
    assert "broken-lr-ratios" not in [finding.id for finding in found.findings]
    assert {d.name: d.lr for d in found.plan} == {name: 1e-3 * setting[-1] for name, setting in theirs.items()}
