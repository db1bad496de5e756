"""Runners on two real ranks: DDP, ZeRO, FSDP, and what was frozen after DDP had wrapped the model."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner
from torch.distributed.fsdp import FullyShardedDataParallel

from optimbuild import ModelError
from tests import distributed
from tests.integrations.mmengine.project import CLASSIC, StopHook, StoppedError, Toy, adamw, loader, settings, weights
from tests.integrations.mmengine.test_constructor import Gan, gan, seeded

WARM_UP = [{"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 3}]
FROZEN = {**CLASSIC, "rules": [{"type": "freeze", "patterns": ["backbone.0"]}]}
DDP = {"type": "MMDistributedDataParallel", "device_ids": None}
"""MMEngine's own default asks for a GPU."""


def run(work_dir: Path, wrapper: dict[str, Any], epochs: int = 4, stop: bool = False, **options: Any) -> Any:
    """Train on this rank, and return the model's weights by their names in the bare model."""
    os.environ["LOCAL_RANK"] = str(torch.distributed.get_rank())
    hooks = [{"type": "optimbuild.PlanHook"}, *([StopHook()] if stop else [])]
    more = {
        "launcher": "pytorch",
        "custom_hooks": hooks,
        "param_scheduler": WARM_UP,
        "train_dataloader": loader(batch_size=2),
    }
    cfg = {"model_wrapper_cfg": options.pop("model_wrapper_cfg", DDP)}
    runner = Runner(**settings(work_dir, epochs, wrapper, **more, **options), cfg=cfg)
    with contextlib.suppress(StoppedError):
        runner.train()
    return {name.removeprefix("module."): tensor.tolist() for name, tensor in weights(runner.model).items()}


def zero(classic: Any = FROZEN) -> dict[str, Any]:
    return adamw(classic={**classic, "zero": True})


def zero_runs(work_dir: Path) -> list[Any]:
    whole = run(work_dir / "whole", zero())
    run(work_dir / "parts", zero(), stop=True)
    parts = run(work_dir / "parts", zero(), resume=True)
    plain = run(work_dir / "plain", adamw(classic=FROZEN))
    run(work_dir / "theirs", adamw(ours=False), stop=True)
    theirs = run(work_dir / "theirs", zero(CLASSIC), resume=True)
    ours = run(work_dir / "ours", adamw())
    return [whole, parts, plain, theirs, ours]


def test_zero_trains_and_resumes_like_plain_ddp(tmp_path: Path) -> None:
    """Also with frozen parameters, and also where MMEngine's own constructor started the run."""
    for whole, parts, plain, theirs, ours in distributed.run(2, zero_runs, tmp_path, timeout=120):
        assert whole == parts == plain
        assert theirs == ours
        assert whole["backbone.0.weight"] == Toy_weights()["backbone.0.weight"]
        assert whole["head.weight"] != Toy_weights()["head.weight"]


def Toy_weights() -> dict[str, Any]:  # noqa: N802  # the weights of a Toy
    return {name: tensor.tolist() for name, tensor in weights(seeded(Toy)).items()}


def flexible_run(work_dir: Path, wrapper: dict[str, Any], strategy: dict[str, Any], make: Any = Toy) -> FlexibleRunner:
    os.environ["LOCAL_RANK"] = str(torch.distributed.get_rank())
    options = settings(work_dir, 2, wrapper, train_dataloader=loader(batch_size=2), model=seeded(make))
    del options["randomness"]
    environment = {"launcher": "pytorch", "randomness": {"seed": 0}}
    runner = FlexibleRunner(**options, strategy={**strategy, "env_kwargs": environment})
    runner.train()
    return runner


def under_ddp(work_dir: Path) -> list[Any]:
    strategy = {"type": "DDPStrategy", "model_wrapper": DDP}
    runners = [flexible_run(work_dir / str(o), adamw(o), strategy) for o in (True, False)]
    return [{name: tensor.tolist() for name, tensor in weights(runner.model).items()} for runner in runners]


def test_flexible_runners_train_under_ddp_like_mmengines(tmp_path: Path) -> None:
    for ours, theirs in distributed.run(2, under_ddp, tmp_path):
        assert ours == theirs


class Wide(Toy):
    """A toy with a depthwise convolution, whose shape tells what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = torch.nn.Conv2d(3, 3, 3, groups=3)

    def forward(self, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().forward(inputs * (1 + self.extra(torch.ones(1, 3, 3, 3)).mean()), *args, **kwargs)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in model.named_parameters()}


def under_fsdp(work_dir: Path) -> Any:
    rules = {"rules": [{"type": "no_decay"}], "dwconv_decay_mult": 0.25}
    cpu = {"type": "MMFullyShardedDataParallel", "device_id": torch.device("cpu")}
    wrapped = {"type": "FSDPStrategy", "model_wrapper": {**cpu, "use_orig_params": True}}
    runner = flexible_run(work_dir / "fsdp", adamw(classic=rules), wrapped, Wide)
    plan = runner.optim_wrapper.plan
    with FullyShardedDataParallel.summon_full_params(runner.model):
        state = {
            name.replace("_fsdp_wrapped_module.", ""): tensor.tolist()
            for name, tensor in weights_of(runner.model).items()
        }
    ddp = {"type": "DDPStrategy", "model_wrapper": DDP}
    plain = flexible_run(work_dir / "ddp", adamw(classic=rules), ddp, Wide)
    same = {name.removeprefix("module."): tensor.tolist() for name, tensor in weights_of(plain.model).items()}
    error = ""
    try:
        flexible_run(work_dir / "flat", adamw(), {**wrapped, "model_wrapper": {**cpu, "use_orig_params": False}})
    except ModelError as refused:
        error = str(refused)
    return [(d.name, d.param.shape, d.weight_decay) for d in plan], state, same, error


def test_fsdp_plans_the_true_shapes_and_refuses_flat_parameters(tmp_path: Path) -> None:
    first, _ = distributed.run(2, under_fsdp, tmp_path, timeout=120)
    planned, state, same, error = first
    assert planned == [
        ("backbone.0.weight", (8, 4), 0.1),
        ("backbone.0.bias", (8,), 0.0),
        ("backbone.1.weight", (8,), 0.0),
        ("backbone.1.bias", (8,), 0.0),
        ("backbone.2.weight", (8, 8), 0.1),
        ("backbone.2.bias", (8,), 0.0),
        ("norm.weight", (8,), 0.0),
        ("norm.bias", (8,), 0.0),
        ("head.weight", (2, 8), 0.1),
        ("head.bias", (2,), 0.0),
        ("extra.weight", (3, 1, 3, 3), 0.025),
        ("extra.bias", (3,), 0.0),
    ]
    assert state.keys() == same.keys()
    for name, expected in same.items():
        torch.testing.assert_close(torch.tensor(state[name]), torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert "Give it use_orig_params=True" in error


def separate(work_dir: Path) -> Any:
    os.environ["LOCAL_RANK"] = str(torch.distributed.get_rank())
    generator = {**gan()["generator"], "paramwise_cfg": {"rules": [{"type": "freeze", "patterns": ["0"]}]}}
    cfg = {"type": "MMSeparateDistributedDataParallel", "device_ids": None}
    return run(work_dir, gan(generator=generator), 2, model=seeded(Gan), model_wrapper_cfg=cfg)


def test_modules_that_ddp_wraps_one_by_one_train_with_frozen_parts(tmp_path: Path) -> None:
    first, second = distributed.run(2, separate, tmp_path)
    assert first == second
    start = {name: tensor.tolist() for name, tensor in weights(seeded(Gan)).items()}
    frozen = {name for name in first if first[name] == start[name.replace(".module", "")]}
    assert frozen == {"generator.module.0.weight", "generator.module.0.bias"}
