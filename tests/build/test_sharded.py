"""The same build on models that FSDP2 or DeepSpeed shards: every parameter moves by what its plan says."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from optimbuild import ConfigError, ModelError, Plan, build_optimizer, make_plan
from optimbuild.build.zero.deepspeed import deepspeed_config
from tests.distributed import needs_fsdp2_on_cpu, run
from tests.models import Block

OPTIMIZERS: list[dict[str, Any]] = [
    {"type": "adamw", "lr": 1e-2, "weight_decay": 0.05},
    {"type": "sgd", "lr": 1e-2, "weight_decay": 0.05},
    {"type": "sgd_linear_probing", "lr": 1e-2},
]
RULES: list[dict[str, Any]] = [
    {"type": "layer_decay", "ratio": 0.5},
    {"type": "freeze", "patterns": ["embed"]},
    {"type": "no_decay"},
]


class Net(nn.Module):
    """Blocks and a head; odd sizes, so that no shard is like another."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(7, 9)
        self.blocks = nn.ModuleList([Block(9) for _ in range(2)])
        self.head = nn.Linear(9, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def config_of(kind: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"optimizer": kind, "rules": RULES if "weight_decay" in kind else RULES[:2], **more}


def several() -> dict[str, Any]:
    """Return a config whose matrices are trained by SGD, and the rest by AdamW."""
    route = {"type": "route", "to": "other", "kinds": ["matrix"], "except": ["output"]}
    return {"optimizer": OPTIMIZERS[0], "optimizers": {"other": OPTIMIZERS[1]}, "rules": [route, *RULES]}


def batch() -> torch.Tensor:
    return torch.randn(4, 7, generator=torch.Generator().manual_seed(1))


def bare(config: dict[str, Any]) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a model with its gradients, on one process, and its plain optimizer."""
    model = net()
    built = build_optimizer(config, model)
    model(batch()).square().mean().backward()
    return model, built


def plain(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return where the plain optimizer's first step takes every parameter."""
    model, built = bare(config)
    built.step()
    return {name: tensor.detach() for name, tensor in model.named_parameters()}


def planned_step(plan: Plan, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return where the first step takes a parameter, worked out from its planned LR and weight decay."""
    options, before = plan[name].options, tensor.detach().double()
    if options is None:
        return before.float()
    assert tensor.grad is not None
    grad = tensor.grad.double()
    lr, decay = options["lr"], options["weight_decay"]
    if "betas" in options:  # the first step of Adam: both averages are the gradient's, after bias correction
        return (before * (1 - lr * decay) - lr * grad / (grad.abs() + options["eps"])).float()
    look_ahead = 1 + options["momentum"] if options["nesterov"] else 1
    return (before - lr * look_ahead * (grad + decay * before)).float()


def moved_as_planned(config: dict[str, Any], plan: Plan, after: dict[str, torch.Tensor]) -> dict[str, bool]:
    model, built = bare(config)
    before = dict(model.named_parameters())
    return {
        "same plan": plan.fingerprint == built.plan.fingerprint,
        "as its figures say": close(after, {n: planned_step(built.plan, n, tensor) for n, tensor in before.items()}),
        "as the plain optimizer": close(after, plain(config)),
        "frozen ones stay": all(torch.equal(after[name], before[name]) for name in built.plan.frozen),
    }


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7) for name in ours
    )


ALL_WELL = {"same plan": True, "as its figures say": True, "as the plain optimizer": True, "frozen ones stay": True}


# --- FSDP2 ------------------------------------------------------------------------------------


def fsdp2() -> dict[str, Any]:
    from torch.distributed.fsdp import fully_shard

    found: dict[str, Any] = {}
    for kind in OPTIMIZERS:
        for implementation in ("auto", "foreach", "for-loop"):
            for whole in (False, True):  # a root that is not sharded leaves plain tensors beside the shards
                model = net()
                for block in model.blocks:
                    fully_shard(block)
                if whole:
                    fully_shard(model)
                config = config_of(kind, implementation=implementation)
                built = build_optimizer(config, model)
                model(batch()).square().mean().backward()
                built.step()
                after = {name: _full(tensor) for name, tensor in model.named_parameters()}
                case = f"{kind['type']}, {implementation}, {'all' if whole else 'blocks'}"
                found[case] = moved_as_planned(config, built.plan, after)
    plans = [make_plan(config_of(kind), model) for kind in OPTIMIZERS]
    found["kernels"] = [{group.implementation for group in plan.groups} for plan in plans]
    found["kernels, read again"] = [{g.implementation for g in Plan.from_json(p.to_json()).groups} for p in plans]
    found["refusals"] = [refused(config_of(OPTIMIZERS[0], zero=True), model)]
    found["refusals"].append(refused(config_of(OPTIMIZERS[1], implementation="fused"), model))
    return found


def refused(config: dict[str, Any], model: nn.Module) -> str:
    with pytest.raises(ConfigError) as caught:
        build_optimizer(config, model)
    return str(caught.value)


def _full(tensor: Any) -> torch.Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach()


@pytest.fixture(scope="module")
def fsdp2_ranks() -> list[dict[str, Any]]:
    return run(2, fsdp2)


@needs_fsdp2_on_cpu
def test_a_model_under_fsdp2_moves_as_planned(fsdp2_ranks):
    for rank in fsdp2_ranks:
        moves = {case: moved for case, moved in rank.items() if isinstance(moved, dict)}
        assert len(moves) == 18
        assert moves == dict.fromkeys(moves, ALL_WELL)


@needs_fsdp2_on_cpu
def test_only_kernels_that_take_shards_are_fused_under_fsdp2(fsdp2_ranks):
    for rank in fsdp2_ranks:
        assert rank["kernels"] == rank["kernels, read again"]
        adamw, *others = rank["kernels"]
        assert adamw == {"fused"}
        assert all(kernels <= {"foreach", "for-loop"} for kernels in others)
        assert rank["refusals"][1].startswith("implementation: sgd has no fused implementation for ")


@needs_fsdp2_on_cpu
def test_zero_on_a_model_under_fsdp2_is_refused(fsdp2_ranks):
    for rank in fsdp2_ranks:
        refusal = rank["refusals"][0]
        assert refusal.startswith("zero: the model is sharded already, by FSDP2")
        assert "blocks.0.norm.weight" in refusal
        assert "Leave `zero` off" in refusal


# --- FSDP1 ------------------------------------------------------------------------------------


def fsdp1() -> dict[str, Any]:
    from torch.distributed.fsdp import FullyShardedDataParallel

    def wrapped(model: nn.Module, **options: Any) -> nn.Module:
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **{"use_orig_params": True, **options})

    found: dict[str, Any] = {}
    config = config_of(OPTIMIZERS[0])
    for source in (config, make_plan(config, net())):
        model = net()
        model.blocks[0] = wrapped(model.blocks[0])
        model = wrapped(model)
        built = build_optimizer(source, model)
        part = build_optimizer(built.plan, nn.ModuleDict({"blocks": nn.ModuleDict({"0": model.module.blocks[0]})}))
        found[f"{type(source).__name__}, a part"] = [
            group["weight_decay"] == built.plan[name].weight_decay
            for group in part.param_groups
            for name in group["param_names"]
        ]
        model(batch()).square().mean().backward()
        built.step()
        with FullyShardedDataParallel.summon_full_params(model):
            named = [(decision.name, tensor) for decision, tensor in zip(built.plan, model.parameters(), strict=True)]
            after = {name: tensor.detach().clone() for name, tensor in named}
        found[type(source).__name__] = moved_as_planned(config, built.plan, after)
    flat = wrapped(net(), use_orig_params=False)
    for case, refused_model in {"flat": flat, "inside flat": flat.module, "inside": model.module}.items():
        with pytest.raises(ModelError) as caught:
            build_optimizer(config, refused_model)
        found[case] = str(caught.value)
    found["zero"] = refused({**config, "zero": True}, model)
    return found


def test_a_model_under_fsdp1_moves_as_planned_and_flat_tensors_are_refused():
    for rank in run(2, fsdp1):
        assert rank["flat"].startswith("FSDP keeps the parameters in flat tensors")
        assert "use_orig_params=True" in rank["flat"]
        assert rank["zero"].startswith("zero: the model is sharded already, by FSDP,")
        assert rank["dict"] == rank["Plan"] == ALL_WELL
        assert rank["dict, a part"] == rank["Plan, a part"] == [True] * 8
        assert rank["inside flat"] == rank["inside"]
        assert "only the module that FSDP returned knows their shapes" in rank["inside"]


# --- DeepSpeed --------------------------------------------------------------------------------

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="deepspeed is not installed: pip install optimbuild[deepspeed]",
)


def deepspeed_on_cpu() -> Any:
    """Import DeepSpeed for the CPU, in a process that has a process group and ends soon."""
    os.environ.update(DS_ACCELERATOR="cpu", LOCAL_RANK=str(dist.get_rank()))
    warnings.simplefilter("ignore")  # what DeepSpeed calls of torch is deprecated there
    import deepspeed

    deepspeed.utils.logger.setLevel("ERROR")
    # else it compiles a C++ kernel to reduce in shared memory first, for a minute; gloo reduces as well
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def training(stage: int, **more: Any) -> dict[str, Any]:
    # DeepSpeed clips at a norm of 1.0 where nothing is said
    return {
        "train_micro_batch_size_per_gpu": 4,
        "gradient_clipping": 0.0,
        "zero_optimization": {"stage": stage, **more},
    }


def after_a_step(deepspeed: Any, model: nn.Module, config: dict[str, Any], **more: Any) -> dict[str, torch.Tensor]:
    engine, *_ = deepspeed.initialize(model=model, config=config, **more)
    engine.backward(engine(batch()).square().mean())
    engine.step()
    after = {}
    for name, tensor in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            after[name] = tensor.detach().clone()
    return after


def stages() -> dict[str, dict[str, bool]]:
    deepspeed, found = deepspeed_on_cpu(), {}
    configs = {kind["type"]: config_of(kind) for kind in OPTIMIZERS} | {"several": several()}
    for name, config in configs.items():
        for stage in (1, 2, 3):
            model = net()
            built = build_optimizer(config, model)
            settings = {**training(stage), **deepspeed_config(built.plan)}
            after = after_a_step(deepspeed, model, settings, optimizer=built)
            found[f"{name}, stage {stage}"] = moved_as_planned(config, built.plan, after)
    return found


def stage_3_from_the_start() -> tuple[dict[str, bool], dict[str, Any]]:
    """Build the model under ``zero.Init``, where every tensor is flat and empty."""
    deepspeed, config = deepspeed_on_cpu(), config_of(OPTIMIZERS[0])
    with deepspeed.zero.Init(config_dict_or_path=training(3)):
        model = net()
    built = build_optimizer(config, model)
    for name, tensor in model.named_parameters():
        with deepspeed.zero.GatheredParameters([tensor], modifier_rank=0):
            tensor.data.copy_(dict(net().named_parameters())[name])
    shapes = {
        "in place": {tuple(tensor.shape) for tensor in model.parameters()},
        "planned": built.plan["head.weight"].param.shape,
        "decay": (built.plan["head.weight"].weight_decay, built.plan["blocks.0.norm.weight"].weight_decay),
    }
    shapes["refusal"] = refused({**config, "zero": True}, model)
    after = after_a_step(deepspeed, model, {**training(3), **deepspeed_config(built.plan)}, optimizer=built)
    return moved_as_planned(config, built.plan, after), shapes


def named_only_in_its_config() -> dict[str, bool]:
    """Let DeepSpeed construct the optimizer from our part of its config, over our groups, on the CPU or offloaded."""
    deepspeed, found = deepspeed_on_cpu(), {}
    for kind in [*OPTIMIZERS, {"type": "Adam", "lr": 1e-2}, {"type": "RMSprop", "lr": 1e-2}]:
        for offload in ({}, {"offload_optimizer": {"device": "cpu"}}):
            config, model = config_of(kind), net()
            plan = make_plan(config, model)
            groups = build_optimizer(config, model).param_groups
            settings = json.loads(json.dumps({**training(2, **offload), **deepspeed_config(plan)}))
            mine = [{key: group[key] for key in ("params", "lr", "weight_decay")} for group in groups]
            after = after_a_step(deepspeed, model, settings, model_parameters=mine)
            found[f"{kind['type']}, {offload}"] = close(after, plain(config))
    model = net()
    built = build_optimizer(config_of(OPTIMIZERS[0]), model)
    settings = {**training(2, offload_optimizer={"device": "cpu"}), **deepspeed_config(built.plan)}
    after = after_a_step(deepspeed, model, settings, optimizer=built)
    found["offloaded, built by us"] = close(after, plain(config_of(OPTIMIZERS[0])))
    return found


def inside_deepspeed() -> dict[str, Any]:
    return {"stages": stages(), "init": stage_3_from_the_start(), "named": named_only_in_its_config()}


@pytest.fixture(scope="module")
def deepspeed_ranks() -> list[dict[str, Any]]:
    return run(2, inside_deepspeed, timeout=180)


@needs_deepspeed
def test_inside_deepspeed_every_stage_moves_as_planned(deepspeed_ranks):
    for rank in deepspeed_ranks:
        assert len(rank["stages"]) == 12
        assert rank["stages"] == dict.fromkeys(rank["stages"], ALL_WELL)


@needs_deepspeed
def test_under_zero_init_rules_see_the_true_shapes(deepspeed_ranks):
    for rank in deepspeed_ranks:
        moved, shapes = rank["init"]
        assert moved == ALL_WELL
        assert shapes["in place"] == {(0,)}
        assert shapes["planned"] == (5, 9)
        assert shapes["decay"] == (0.05, 0.0)
        assert shapes["refusal"].startswith("zero: the model is sharded already, by DeepSpeed")


@needs_deepspeed
def test_deepspeed_accepts_all_of_the_config_that_belongs_to_the_optimizer(deepspeed_ranks):
    for rank in deepspeed_ranks:
        assert len(rank["named"]) == 11
        assert rank["named"] == dict.fromkeys(rank["named"], True)
