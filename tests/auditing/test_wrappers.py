"""Optimizers and models in the wrappers of others are audited as they are without."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ModelError, audit, build_optimizer, plan_of
from tests.auditing.planted import adamw, split
from tests.build.test_sharded import deepspeed_on_cpu, training
from tests.distributed import run
from tests.models import CONFIG, Net


def told(optimizer: Any, model: Any) -> Any:
    found = audit(optimizer, model)
    settings = {d.name: (d.optimizer, d.options) for d in found.plan}
    return [(finding.id, finding.params) for finding in found.findings], settings


def of_accelerate(model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
    accelerate = pytest.importorskip("accelerate")
    its_model, wrapped = accelerate.Accelerator(cpu=True).prepare(model, optimizer)
    return wrapped, its_model


def of_mmengine(model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
    from mmengine.optim import OptimWrapper

    return OptimWrapper(optimizer), model


def of_lightning(model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
    pytest.importorskip("pytorch_lightning")
    from pytorch_lightning.core.optimizer import LightningOptimizer

    return LightningOptimizer(optimizer), model


def of_a_trainer(model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
    return SimpleNamespace(optimizer=optimizer), model


def of_a_trainer_with_a_list(model: nn.Module, optimizer: Any) -> tuple[Any, Any]:
    return SimpleNamespace(optimizers=[optimizer]), model


WRAPPERS = [of_accelerate, of_mmengine, of_lightning, of_a_trainer, of_a_trainer_with_a_list]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_optimizer_is_audited_as_without_wrapper(wrap: Any) -> None:
    model = Net()
    model.stem[0].bias.requires_grad_(False)
    for optimizer in (adamw(model.parameters(), weight_decay=0.1), build_optimizer(CONFIG, model)):
        expected = told(optimizer, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the wrappers
            wrapped, its_model = wrap(model, optimizer)
            assert told(wrapped, its_model) == expected


def test_a_lightning_module_is_audited_as_the_model_itself() -> None:
    lightning = pytest.importorskip("pytorch_lightning")
    module = lightning.LightningModule()
    module.net = Net()
    assert audit(adamw(split(module)), module).findings == ()


def test_the_optimizers_of_an_mmengine_gan_are_audited_together() -> None:
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    model = nn.ModuleDict({"generator": nn.Linear(4, 4), "critic": nn.Linear(4, 1)})
    wrappers = {
        name: OptimWrapper(adamw(part.parameters(), lr=10.0**-i)) for i, (name, part) in enumerate(model.items())
    }
    found = audit(OptimWrapperDict(**wrappers), model)
    assert found.findings == ()
    assert {d.name: d.lr for d in found.plan if d.name.endswith("bias")} == {"generator.bias": 1.0, "critic.bias": 0.1}
    wrappers["critic"].param_groups[0]["betta"] = 1
    assert "group 0 of 'critic'" in str(audit(OptimWrapperDict(**wrappers), model).findings[0])


def check_deepspeed() -> dict[int, Any]:
    deepspeed, found = deepspeed_on_cpu(), {}
    for stage in (0, 1, 2, 3):
        model = Net()
        settings = {**training(stage), "train_micro_batch_size_per_gpu": 4}
        engine, *_ = deepspeed.initialize(model=model, optimizer=adamw(split(model), fused=None), config=settings)
        for optimizer, its_model in ((engine, engine), (engine.optimizer, model)):
            seen = audit(optimizer, its_model)
            decays = [(d.name, d.lr, d.weight_decay) for d in seen.plan]
            found.setdefault(stage, []).append(([f.id for f in seen.findings], decays))
    found["plan"] = is_plan_found(deepspeed)
    return found


def is_plan_found(deepspeed: Any) -> list[bool]:
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    settings = {**training(1), "zero_allow_untested_optimizer": True}
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    return [plan_of(each) is optimizer.plan for each in (engine, engine.optimizer)]


@pytest.mark.slow
def test_engines_of_deepspeed_are_audited_with_their_model() -> None:
    pytest.importorskip("deepspeed")
    model = Net()
    expected = [(d.name, d.lr, d.weight_decay) for d in audit(adamw(split(model)), model).plan]
    (found,) = run(1, check_deepspeed, timeout=120)
    assert found.pop("plan") == [True, True]
    assert {stage: [decays == expected for _, decays in seen] for stage, seen in found.items()} == {
        stage: [True, True] for stage in (0, 1, 2, 3)
    }
    assert {id_ for seen in found.values() for ids, _ in seen for id_ in ids} <= {"unused-fused-kernel"}


def test_what_holds_no_optimizer_or_another_models_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ModelError, match=r"a torch.optim.Optimizer is needed, what wraps one, or several"):
        audit(model.parameters(), model)
    with pytest.raises(ModelError, match=r"there is none in \[\]"):
        audit([], model)
    with pytest.raises(ModelError, match=r"no group of this optimizer holds a parameter of Linear"):
        audit(adamw(Net().parameters()), model)
    with pytest.raises(ModelError, match=r"must be a torch.nn.Module"):
        audit(adamw(model.parameters()), None)


def test_a_learning_rate_on_a_tensor_is_read_as_a_number() -> None:
    model = nn.Linear(2, 2)
    assert audit(adamw(split(model), lr=torch.tensor(0.5)), model).plan["bias"].lr == 0.5
