"""The constructor in real runners: the same training as MMEngine's, several optimizers, wrong input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner
from torch import Tensor, nn

from optimbuild import ConfigError, ModelError, OptimBuildError
from tests.integrations.mmengine.project import (
    OURS,
    Toy,
    Wrong,
    adamw,
    loader,
    same,
    settings,
    sgd,
    stopped,
    trained,
    weights,
    wrapper,
)

ROOT = Path(__file__).parents[3]


def build(model: nn.Module, **keys: Any) -> Any:
    config = {"optimizer": {"type": "adamw", "lr": 0.1, "weight_decay": 0.5}, "constructor": OURS, **keys}
    return build_optim_wrapper(model, {key: value for key, value in config.items() if value is not ...})


# --- the config of the documentation ---------------------------------------------------------


@pytest.mark.slow
def test_a_config_needs_nothing_but_the_constructor(tmp_path: Path) -> None:
    """In a process of its own, so that nobody has imported the integration before the runner does."""
    (tmp_path / "config.py").write_text(
        "optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=2, "
        "clip_grad=dict(max_norm=1.0), constructor='optimbuild.OptimBuildConstructor', "
        "optimizer=dict(type='adamw', lr=1e-3, weight_decay=0.05), "
        "paramwise_cfg=dict(rules=[dict(type='no_decay'), dict(type='freeze', patterns=['backbone.0'])]))\n"
    )
    code = (
        "import sys; from mmengine.config import Config; from tests.integrations.mmengine.project import trained; "
        "assert 'optimbuild.integrations.mmengine' not in sys.modules; "
        f"config = Config.fromfile({str(tmp_path / 'config.py')!r}); "
        f"runner = trained({str(tmp_path / 'work')!r}, 1, config.optim_wrapper); "
        "assert [g['weight_decay'] for g in runner.optim_wrapper.optimizer.param_groups] == [0.0, 0.05]; "
        "assert not runner.model.backbone[0].weight.requires_grad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, cwd=ROOT, capture_output=True)


@pytest.mark.slow
def test_transformers_beside_it_does_no_harm() -> None:
    code = (
        "import transformers; from mmengine.registry import OPTIMIZERS; from torch import nn; "
        "from mmengine.optim import build_optim_wrapper; "
        "wrapper = build_optim_wrapper(nn.Linear(2, 2), {'constructor': 'optimbuild.OptimBuildConstructor', "
        "'optimizer': {'type': 'Adafactor', 'scale_parameter': False, 'relative_step': False, 'lr': 1e-3}}); "
        "assert isinstance(wrapper.optimizer, transformers.Adafactor); "
        "assert OPTIMIZERS.get('TorchAdafactor').__module__.startswith('torch.optim')"
    )
    pytest.importorskip("transformers")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, cwd=ROOT)


# --- the same training -----------------------------------------------------------------------


@pytest.mark.parametrize("make", [adamw, sgd])
def test_five_epochs_are_those_of_mmengines_constructor(make: Any, tmp_path: Path) -> None:
    schedule = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4},
        {"type": "CosineAnnealingLR", "T_max": 5, "convert_to_iter_based": True},
    ]
    ours = trained(tmp_path / "ours", 5, make(), param_scheduler=schedule)
    theirs = trained(tmp_path / "theirs", 5, make(ours=False), param_scheduler=schedule)
    assert same(ours.model, theirs.model)
    assert not same(ours.model, Toy())
    assert len(ours.optim_wrapper.optimizer.param_groups) < len(theirs.optim_wrapper.optimizer.param_groups)


def test_the_fused_kernel_trains_like_mmengines_with_the_fused_kernel(tmp_path: Path) -> None:
    config = adamw(ours=False)
    config["optimizer"]["fused"] = True
    theirs = trained(tmp_path / "theirs", 3, config)
    ours = trained(tmp_path / "ours", 3, {**config, "constructor": OURS})
    assert same(ours.model, theirs.model)


def test_accumulation_trains_like_mmengines(tmp_path: Path) -> None:
    runs = [trained(tmp_path / str(ours), 3, adamw(ours, accumulative_counts=3)) for ours in (True, False)]
    assert same(runs[0].model, runs[1].model)


def test_clipping_differs_from_mmengines_by_rounding_only(tmp_path: Path) -> None:
    """The norm of all gradients is summed in the order of the groups, and ours are not in model order."""
    clip = {"max_norm": 0.1}
    ours, theirs = (trained(tmp_path / str(ours), 3, adamw(ours, clip_grad=clip)).model for ours in (True, False))
    mine, others = weights(ours), weights(theirs)
    assert all(torch.allclose(mine[name], others[name], rtol=1e-4, atol=1e-6) for name in mine)
    assert not same(ours, trained(tmp_path / "free", 3, adamw()).model)


SCHEDULERS: Mapping[str, dict[str, Any]] = {
    "Constant": {"factor": 0.5, "end": 3},
    "CosineAnnealing": {"T_max": 5, "eta_min_ratio": 0.1},
    "CosineRestart": {"periods": [2, 3], "restart_weights": [1, 0.5], "eta_min": 1e-4},
    "Exponential": {"gamma": 0.7},
    "Linear": {"start_factor": 0.2, "end": 4},
    "MultiStep": {"milestones": [1, 3], "gamma": 0.5},
    "OneCycle": {"eta_max": 0.05, "total_steps": 5},
    "Poly": {"power": 2, "eta_min": 1e-4, "end": 7},
    "ReduceOnPlateau": {"monitor": "wrong", "patience": 0, "factor": 0.5},
    "Step": {"step_size": 2, "gamma": 0.5},
}
FLATTENING = ("OneCycle",)
"""Those that set one LR for all groups, under MMEngine's constructor as under ours."""


def cases() -> list[tuple[str, dict[str, Any]]]:
    found = [(f"{name}LR", options) for name, options in SCHEDULERS.items()]
    found += [(f"{name}Momentum", options) for name, options in SCHEDULERS.items() if name != "OneCycle"]
    return found + [(f"{name}ParamScheduler", {**options, "param_name": "lr"}) for name, options in SCHEDULERS.items()]


def test_every_scheduler_that_mmengine_ships_is_in_the_table() -> None:
    shipped = {name for name, cls in PARAM_SCHEDULERS.module_dict.items() if cls.__module__.startswith("mmengine.")}
    assert {name for name, _ in cases()} == shipped


def trace(name: str, options: dict[str, Any], ours: bool, work_dir: Path) -> tuple[list[dict[str, Any]], Runner]:
    """Train for five epochs, and return the LR and momentum of every parameter before each of them."""
    values: list[dict[str, Any]] = []

    class Recorder(Toy):
        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            name_of = {id(tensor): name for name, tensor in self.named_parameters()}
            groups = optim_wrapper.optimizer.param_groups
            values.append({name_of[id(p)]: (g["lr"], g["momentum"]) for g in groups for p in g["params"]})
            return super().train_step(data, optim_wrapper)

    runner = trained(
        work_dir,
        5,
        sgd(ours),
        model=seeded(Recorder),
        param_scheduler={"type": name, **options},
        train_dataloader=loader(batch_size=8),
        val_dataloader=loader(batch_size=8),
        val_evaluator=[Wrong()],
        val_cfg={},
        default_hooks={"checkpoint": None},
    )
    return values, runner


def seeded(make: Any) -> Any:
    torch.manual_seed(0)
    return make()


@pytest.mark.parametrize(("name", "options"), cases(), ids=[name for name, _ in cases()])
def test_relative_values_survive_every_scheduler(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    mine, ours = trace(name, options, True, tmp_path / "ours")
    others, theirs = trace(name, options, False, tmp_path / "theirs")
    assert mine == others
    assert same(ours.model, theirs.model)
    assert len({str(values) for values in mine}) > 1
    if not name.startswith(FLATTENING):
        assert all(len({lr for lr, _ in values.values()}) == 3 for values in mine)


def test_the_lr_is_scaled_to_the_batch_size_like_mmengines(tmp_path: Path) -> None:
    scale = {"enable": True, "base_batch_size": 64}
    ours, theirs = (trained(tmp_path / str(o), 2, adamw(o), auto_scale_lr=scale) for o in (True, False))
    assert same(ours.model, theirs.model)
    assert not same(ours.model, trained(tmp_path / "unscaled", 2, adamw()).model)


def test_frozen_norms_keep_their_statistics_through_training(tmp_path: Path) -> None:
    rule = {"type": "freeze", "patterns": ["norm"], "keep_norm_stats": True}
    runner = trained(tmp_path, 2, adamw(classic={"rules": [rule]}))
    assert torch.equal(runner.model.norm.running_mean, torch.zeros(8))
    assert torch.equal(runner.model.norm.weight, torch.ones(8))


# --- several optimizers ----------------------------------------------------------------------


class Gan(BaseModel):
    """A generator and a critic, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
        self.critic = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        losses = {}
        for name in ("critic", "generator"):
            loss = self.critic(self.generator(data["inputs"])).mean() * (1 if name == "critic" else -1)
            self.zero_grad()
            optim_wrapper[name].update_params(loss)
            losses[name] = loss.detach()
        return losses

    def forward(self, inputs: Tensor) -> Tensor:
        return self.generator(inputs)


def gan(**keys: Any) -> dict[str, Any]:
    return {
        "constructor": OURS,
        "generator": {
            "optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1},
            "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"2": {"lr_mult": 0.5}}},
        },
        "critic": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1}},
        **keys,
    }


def test_each_module_gets_its_own_optimizer_and_plan(tmp_path: Path) -> None:
    schedulers = {
        "generator": {"type": "ExponentialLR", "gamma": 0.5},
        "critic": {"type": "ExponentialLR", "gamma": 0.1},
    }
    runner = trained(tmp_path, 2, gan(), model=seeded(Gan), param_scheduler=schedulers)
    wrappers = runner.optim_wrapper
    assert isinstance(wrappers, OptimWrapperDict)
    assert list(wrappers.keys()) == ["generator", "critic"]
    plan = wrappers["generator"].optimizer.plan
    assert [(d.name, d.lr, d.weight_decay) for d in plan] == [
        ("0.weight", 0.01, 0.1),
        ("0.bias", 0.01, 0.1),
        ("1.weight", 0.01, 0.0),
        ("1.bias", 0.01, 0.0),
        ("2.weight", 0.005, 0.1),
        ("2.bias", 0.005, 0.1),
    ]
    assert isinstance(wrappers["critic"].optimizer, torch.optim.SGD)
    assert [g["lr"] for g in wrappers["generator"].optimizer.param_groups] == [0.005, 0.005, 0.0025]
    assert [g["lr"] for g in wrappers["critic"].optimizer.param_groups] == [0.010000000000000002]
    assert wrappers["critic"].clip_grad_kwargs == {"max_norm": 1}


def by_modules() -> dict[str, Any]:
    """Return the same optimizers, for modules that a list, or a regular expression, names."""
    made = gan()
    made["generator"]["modules"] = [r"generator\.[02]", "generator.1"]
    made["critic"]["modules"] = "crit.*c"
    return made


@pytest.mark.parametrize("config", [gan, by_modules])
def test_several_optimizers_resume_too(config: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4, gan(), model=seeded(Gan))
    stopped(tmp_path / "parts", config(), model=seeded(Gan))
    parts = trained(tmp_path / "parts", 4, config(), model=seeded(Gan), resume=True)
    assert same(whole.model, parts.model)


def test_one_paramwise_cfg_serves_the_wrappers_that_have_none() -> None:
    wrappers = build_optim_wrapper(Gan(), gan(paramwise_cfg={"bias_lr_mult": 2.0}))
    assert wrappers["critic"].optimizer.plan["0.bias"].lr == 0.2
    assert wrappers["generator"].optimizer.plan["0.bias"].lr == 0.01


def test_parameters_that_no_optimizer_takes_are_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    model = Gan()
    model.extra = nn.Linear(2, 2)
    MMLogger.get_current_instance().addHandler(caplog.handler)
    build_optim_wrapper(model, gan())
    assert "optimbuild: trainable, and in no optimizer: extra.weight, extra.bias" in caplog.messages


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        (
            {"generater": gan()["critic"]},
            "optim_wrapper.generater",
            r"Gan has no module 'generater'; closest: generator",
        ),
        ({"accumulative_counts": 2}, "optim_wrapper.accumulative_counts", r"each key must name a module.*this is 2"),
        (
            {"critic": {"optimizer": {"type": "SGD", "lr": -1}}},
            "optim_wrapper.critic.optimizer.lr",
            r"must be greater than or equal to 0",
        ),
        (
            {"critic": {"optimizer": {"type": "SGD"}, "clip_grad": 3}},
            "optim_wrapper.critic.clip_grad",
            r"must be a mapping such as",
        ),
    ],
)
def test_a_mistake_in_one_of_several_is_an_error_with_its_path(keys: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        build_optim_wrapper(Gan(), gan(**keys))
    assert e.value.path == path


def test_a_tensor_that_two_optimizers_would_take_is_an_error() -> None:
    model = Gan()
    model.critic[0].weight = model.generator[0].weight
    with pytest.raises(ConfigError, match=r"'0\.weight' of 'critic' is the same tensor as '0\.weight' of 'generator'"):
        build_optim_wrapper(model, gan())
    frozen = {"rules": [{"type": "freeze", "patterns": ["0.weight"]}]}
    critic = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": frozen}
    with pytest.raises(ConfigError, match="is the same tensor"):
        build_optim_wrapper(model, gan(critic={**critic, "paramwise_cfg": None}))
    assert len(build_optim_wrapper(model, gan(critic=critic))) == 2


# --- wrong input -----------------------------------------------------------------------------

W = "optim_wrapper"


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        (
            {"type": "OptimWraper"},
            f"{W}.type",
            r"unknown optimizer wrapper 'OptimWraper'\. Did you mean 'OptimWrapper'",
        ),
        ({"type": "os.system"}, f"{W}.type", r"unknown optimizer wrapper 'os\.system'"),
        ({"type": 5}, f"{W}.type", r"must be an optimizer wrapper, not 5"),
        ({"type": nn.Linear}, f"{W}.type", r"must be an optimizer wrapper"),
        ({"acumulative_counts": 2}, W, r"takes no option 'acumulative_counts'\. Did you mean 'accumulative_counts'"),
        ({"accumulative_counts": 0}, f"{W}.accumulative_counts", r"must be a whole number from 1, not 0"),
        ({"accumulative_counts": 1.5}, f"{W}.accumulative_counts", r"must be a whole number from 1, not 1\.5"),
        ({"clip_grad": 1.0}, f"{W}.clip_grad", r"must be a mapping such as dict\(max_norm=1\.0\)"),
        ({"clip_grad": {"type": "nrom"}}, f"{W}.clip_grad.type", r"must be 'norm' or 'value'"),
        ({"clip_grad": {"max_nrom": 1}}, f"{W}.clip_grad", r"unknown key 'max_nrom'\. Did you mean 'max_norm'"),
        ({"clip_grad": {"max_norm": "1"}}, f"{W}.clip_grad.max_norm", r"must be a number from 0, not '1'"),
        ({"clip_grad": {"type": "value"}}, f"{W}.clip_grad.clip_value", r"must be a number from 0, not None"),
        ({"type": "AmpOptimWrapper", "dtype": "float16"}, f"{W}.dtype", r"dtype must be 'bfloat16', not 'float16'"),
        ({"optimizer": ...}, W, r"`optimizer` is required"),
        ({"optimizer": {"type": "adamw", "lr": "fast"}}, f"{W}.optimizer.lr", r"must be a"),
        ({"optimizr": {}}, W, r"unknown key 'optimizr'\. Did you mean 'optimizer'"),
        (
            {"paramwise_cfg": {"rules": [{"type": "freeze", "patterns": ["x"]}]}},
            f"{W}.paramwise_cfg.rules[0].patterns[0]",
            r"'x' matches no parameter",
        ),
        ({"paramwise_cfg": {"zero": True}}, f"{W}.paramwise_cfg.zero", r"torchrun"),
        ({"paramwise_cfg": 3}, f"{W}.paramwise_cfg", r"must be a mapping or null"),
    ],
)
def test_wrong_input_is_an_error_with_its_path_and_nothing_was_changed(
    keys: dict[str, Any], path: str, message: str
) -> None:
    model = Toy()
    before = weights(model)
    with pytest.raises(ConfigError, match=message) as e:
        build(model, **keys)
    assert e.value.path == path
    assert all(param.requires_grad for param in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_what_a_wrapper_of_ones_own_refuses_has_the_path_of_the_key() -> None:
    class Picky(OptimWrapper):
        def __init__(self, speed: str = "slow", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if speed != "slow":
                raise RuntimeError(f"{speed} is too much")

    model, rules = Toy(), [{"type": "freeze", "patterns": ["head"]}]
    with pytest.raises(ConfigError, match="Picky refuses: RuntimeError: 'fast is too much'") as e:
        build(model, type=Picky, accumulative_counts=2, speed="fast", paramwise_cfg={"rules": rules})
    assert e.value.path == "optim_wrapper.speed"
    assert model.head.weight.requires_grad
    assert isinstance(build(model, type=Picky, speed="slow"), Picky)


def test_a_wrapper_that_takes_any_option_gets_them_all() -> None:
    class Open(OptimWrapper):
        def __init__(self, optimizer: Any, **anything: Any) -> None:
            super().__init__(optimizer)
            self.anything = anything

    assert build(Toy(), type=Open, colour="red").anything == {"colour": "red"}


def test_a_model_that_cannot_be_planned_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no parameters"):
        build(nn.ReLU())
    runner = Runner(**settings(tmp_path, 1, wrapper(True, {"type": "adamw", "lr": -1.0}, {})))
    with pytest.raises(OptimBuildError, match=r"^optim_wrapper\.optimizer\.lr: must be greater"):
        runner.train()


# --- flexible runners ------------------------------------------------------------------------


def test_a_flexible_runner_trains_like_a_runner(tmp_path: Path) -> None:
    options = settings(tmp_path / "flexible", 3, adamw())
    del options["randomness"]
    options["strategy"] = {"type": "SingleDeviceStrategy", "env_kwargs": {"randomness": {"seed": 0}}}
    flexible = FlexibleRunner(**options)
    flexible.train()
    assert same(flexible.model, trained(tmp_path / "runner", 3, adamw()).model)
