"""The MMEngine dialect: what a runner's ``optim_wrapper`` means, and where it says what is wrong."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config, ConfigDict
from torch import nn

from optimbuild import ConfigError, Inventory, OptimBuildError, ParamInfo, make_plan
from optimbuild.cli import main
from optimbuild.config import read_config
from optimbuild.config.dialects import mmengine
from tests.models import Net
from tests.properties import examples

OPTIMIZER = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05}
OURS = "optimbuild.OptimBuildConstructor"


def wrapper(**keys: Any) -> dict[str, Any]:
    return {"optim_wrapper": {"optimizer": dict(OPTIMIZER), "constructor": OURS, **keys}}


def with_type(kind: Any, **options: Any) -> dict[str, Any]:
    return wrapper(optimizer={"type": kind, "lr": 0.1, **options})


# --- translation -----------------------------------------------------------------------------


def test_classic_keys_come_first_and_rules_after_them() -> None:
    cfg = {"rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}], "norm_decay_mult": 0.5}
    spec = read_config(wrapper(paramwise_cfg=cfg)).spec
    assert [rule.type for rule in spec.rules] == ["paramwise", "no_decay", "layer_decay"]
    assert spec.rules[0].options == {"norm_decay_mult": 0.5}
    assert spec.optimizer.options == {"lr": 1e-3, "weight_decay": 0.05}


def test_zero_implementation_strict_and_watch_are_in_paramwise_cfg() -> None:
    cfg = {"zero": {"bucket_view": False}, "implementation": "foreach", "strict": False, "watch": False}
    spec = read_config(wrapper(paramwise_cfg=cfg)).spec
    assert spec.sharding is not None
    assert not spec.sharding.bucket_view
    assert (spec.implementation, spec.strict, spec.watch) == ("foreach", False, False)


@pytest.mark.parametrize("paramwise", [None, {}])
def test_without_paramwise_cfg_there_are_no_rules(paramwise: Any) -> None:
    assert read_config(wrapper(paramwise_cfg=paramwise)).spec.rules == ()
    assert read_config({"optim_wrapper": {"optimizer": OPTIMIZER}}).spec.rules == ()


def test_the_wrappers_own_keys_and_the_rest_of_the_config_are_left_alone() -> None:
    config = {**wrapper(type="AmpOptimWrapper", dtype=torch.bfloat16, clip_grad={"max_norm": 1}), "model": print}
    assert read_config(config) == read_config(wrapper())


def test_what_is_given_is_not_changed() -> None:
    config = wrapper(paramwise_cfg={"rules": [{"type": "no_decay"}]})
    before = repr(config)
    make_plan(config, Net())
    assert repr(config) == before


def test_a_config_object_plans_like_the_mapping_that_it_holds() -> None:
    config = wrapper(paramwise_cfg={"bias_lr_mult": 2.0, "rules": [{"type": "no_decay"}]})
    expected = make_plan(config, Net()).fingerprint
    assert make_plan(Config(config), Net()).fingerprint == expected
    assert make_plan(ConfigDict(config), Net()).fingerprint == expected


def test_keys_can_be_overridden() -> None:
    cfg = {"rules": [{"type": "layer_decay", "ratio": 0.5}]}
    overrides = ("optim_wrapper.optimizer.lr=0.5", "optim_wrapper.paramwise_cfg.rules[0].ratio=1")
    plan = make_plan(wrapper(paramwise_cfg=cfg), Net(), overrides=overrides)
    assert {decision.lr for decision in plan} == {0.5}


def test_mmpretrains_constructor_decays_layers_even_without_a_rate() -> None:
    config = {
        "optim_wrapper": {"optimizer": OPTIMIZER, "constructor": "mmpretrain.LearningRateDecayOptimWrapperConstructor"}
    }
    assert read_config(config).spec.rules == ()
    config["optim_wrapper"]["paramwise_cfg"] = {"norm_decay_mult": 0.0}
    assert read_config(config).spec.rules[0].options == {"layer_decay_rate": 1.0, "norm_decay_mult": 0.0}


def test_keys_that_the_configs_own_constructor_ignores_are_a_warning() -> None:
    config = wrapper(paramwise_cfg={"rules": [{"type": "no_decay"}], "layer_decay_rate": 0.5, "bias_lr_mult": 2.0})
    assert read_config(config).warnings == ()
    del config["optim_wrapper"]["constructor"]
    (warning,) = read_config(config).warnings
    assert "DefaultOptimWrapperConstructor, the constructor of this config, ignores rules, layer_decay_rate;" in warning


# --- bad input -------------------------------------------------------------------------------

W = "optim_wrapper"
P = f"{W}.paramwise_cfg"
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"optim_wrapper": []}, W, r"must be a mapping"),
    ({"optim_wrapper": {"optimizr": OPTIMIZER}}, W, r"unknown key 'optimizr'\. Did you mean 'optimizer'\?"),
    ({"optim_wrapper": {"type": "OptimWrapper"}}, W, r"`optimizer` is required"),
    (wrapper(paramwise_cgf={}), W, r"unknown key 'paramwise_cgf'\. Did you mean 'paramwise_cfg'\?"),
    (wrapper(constructor="LayerDecayConstructor"), f"{W}.constructor", r"is not known here\..*optimbuild\.OptimBuildC"),
    (wrapper(optimizer="adamw"), f"{W}.optimizer", r"must be a mapping with `type`"),
    (wrapper(optimizer={"lr": 1.0}), f"{W}.optimizer.type", r"is required"),
    (wrapper(optimizer={"type": 5}), f"{W}.optimizer.type", r"must be a registered name or a class, not 5"),
    (wrapper(optimizer={"type": "adamv"}), f"{W}.optimizer.type", r"unknown optimizer 'adamv'\. Did you mean"),
    (wrapper(optimizer={"type": "adamw", "lr": -1}), f"{W}.optimizer.lr", r"must be greater than or equal to 0"),
    (wrapper(optimizer={"type": "adamw", "lr": float("nan")}), f"{W}.optimizer.lr", r"must be a finite number"),
    (
        wrapper(optimizer={"type": "adamw", "beta": 1}),
        f"{W}.optimizer",
        r"takes no option 'beta'\. Did you mean 'betas'",
    ),
    (wrapper(paramwise_cfg=[]), P, r"must be a mapping or null"),
    (wrapper(paramwise_cfg={"bias_lr_mul": 1}), P, r"unknown key 'bias_lr_mul'\. Did you mean 'bias_lr_mult'"),
    (wrapper(paramwise_cfg={"rule": []}), P, r"unknown key 'rule'\. Did you mean 'rules'"),
    (wrapper(paramwise_cfg={"bias_lr_mult": "two"}), f"{P}.bias_lr_mult", r"must be a"),
    (wrapper(paramwise_cfg={"bypass_duplicate": 3}), f"{P}.bypass_duplicate", r"must be"),
    (wrapper(paramwise_cfg={"custom_keys": {"a": {"decay_mult": -1}}}), f"{P}.custom_keys.a.decay_mult", r"must be"),
    (wrapper(paramwise_cfg={"custom_keys": {"head": {"foo": 1}}}), f"{P}.custom_keys.head", r"takes no option 'foo'"),
    (wrapper(paramwise_cfg={"rules": {"type": "no_decay"}}), f"{P}.rules", r"must be a list"),
    (wrapper(paramwise_cfg={"rules": [{"ratio": 1}]}), f"{P}.rules[0].type", r"is required"),
    (wrapper(paramwise_cfg={"implementation": "fast"}), f"{P}.implementation", r"must be 'auto', 'fused'"),
    (wrapper(paramwise_cfg={"zero": {"stage": 3}}), f"{P}.zero.stage", r"must be 1"),
    (wrapper(paramwise_cfg={"strict": "no"}), f"{P}.strict", r"must be true or false"),
    (
        wrapper(
            paramwise_cfg={"bias_lr_mult": 1, "rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0}]}
        ),
        f"{P}.rules[1].ratio",
        r"must be greater than 0",
    ),
    (wrapper(paramwise_cfg={"rules": [{"type": "no_decy"}]}), f"{P}.rules[0].type", r"unknown rule 'no_decy'"),
    (
        wrapper(paramwise_cfg={"rules": [{"type": "freeze", "patterns": ["hed"]}]}),
        f"{P}.rules[0].patterns[0]",
        r"'hed'.*head",
    ),
    (wrapper(paramwise_cfg={"rules": [{"type": "freeze", "patterns": ["**"]}]}), W, r"every parameter is frozen"),
    (wrapper(paramwise_cfg={"layer_decay_rate": 0.5}), f"{P}.layer_decay_rate", r"asks Net for get_layer_depth"),
    (
        {"optim_wrapper": {"optimizer": {"type": "adamw", "lr": 1.0}, "paramwise_cfg": {"norm_decay_mult": 0}}},
        f"{W}.optimizer.weight_decay",
        r"is required, because paramwise_cfg\.norm_decay_mult multiplies it",
    ),
    (
        {"optim_wrapper": {"optimizer": {"type": "adamw"}, "paramwise_cfg": {"custom_keys": {"a": {"lr_mult": 2}}}}},
        f"{W}.optimizer.lr",
        r"is required, because paramwise_cfg\.custom_keys\['a'\]\.lr_mult multiplies it",
    ),
    ({"_base_": "other.yaml", **wrapper()}, "_base_", r"is followed in Python files only"),
]


@pytest.mark.parametrize(("config", "path", "message"), WRONG, ids=[f"{i}-{w[1]}" for i, w in enumerate(WRONG)])
def test_wrong_input_is_an_error_with_its_path(config: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        make_plan(config, Net())
    assert e.value.path == path


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([print, nn.Linear]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KNOWN = ["optimizer", "paramwise_cfg", "constructor", "type", "lr", "rules", "custom_keys", "zero", "norm_decay_mult"]


@settings(max_examples=examples(200), deadline=None, derandomize=True, database=None)
@given(
    st.dictionaries(st.sampled_from(KNOWN), JUNK, max_size=4), st.dictionaries(st.sampled_from(KNOWN), JUNK, max_size=4)
)
def test_whatever_is_given_only_errors_of_ours_come_out(keys: dict[str, Any], paramwise: dict[str, Any]) -> None:
    for config in (keys, wrapper(paramwise_cfg=paramwise)["optim_wrapper"], wrapper(**keys)["optim_wrapper"]):
        with contextlib.suppress(OptimBuildError):
            make_plan({"optim_wrapper": config}, nn.Linear(2, 2))


def test_a_class_in_a_config_that_imports_lazily_is_that_class(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(
        "from torch.optim import AdamW\nfrom mmengine.optim import OptimWrapper\n"
        "optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=0.1))\n"
    )
    assert make_plan(str(tmp_path / "lazy.py"), nn.Linear(2, 2)).groups[0].optimizer == "mmengine.AdamW"


def test_several_optimizers_are_no_single_plan() -> None:
    config = {"optim_wrapper": {"generator": {"optimizer": OPTIMIZER}, "critic": {"optimizer": OPTIMIZER}}}
    with pytest.raises(ConfigError, match=r"holds 2 optimizers \(generator, critic\)"):
        make_plan(config, Net())


def test_without_weight_decay_what_mmengine_ignores_is_a_warning() -> None:
    config = wrapper(optimizer={"type": "adamw", "lr": 1.0}, paramwise_cfg={"flat_decay_mult": 0.0})
    plan = make_plan(config, Net())
    assert {d.weight_decay for d in plan} == {0.01}
    assert plan.warnings == (f"{P}.flat_decay_mult does nothing, because the optimizer is given no weight_decay",)


# --- hints -----------------------------------------------------------------------------------

CONVNEXT = Inventory(
    (
        ParamInfo("backbone.downsample_layers.0.0.weight", (4, 3, 4, 4)),
        ParamInfo("backbone.stages.0.0.norm.weight", (4,)),
        ParamInfo("backbone.stages.2.8.pointwise_conv1.bias", (4,)),
        ParamInfo("backbone.stages.3.1.pointwise_conv1.weight", (4, 4)),
        ParamInfo("head.weight", (4, 4)),
    ),
    backbone="ConvNeXt",
)


@pytest.mark.parametrize("constructor", [OURS, "DefaultOptimWrapperConstructor"])
def test_the_hint_for_a_published_constructors_keys_gives_what_it_gives(constructor: str) -> None:
    keys = {"num_layers": 6, "decay_rate": 0.7, "decay_type": "layer_wise"}
    config = wrapper(paramwise_cfg=keys, constructor=constructor)
    with pytest.raises(ConfigError, match=r"unknown key 'num_layers'\. LearningRateDecayOptimizerConstructor reads it"):
        make_plan(config, CONVNEXT)
    named = make_plan(wrapper(paramwise_cfg=keys, constructor="LearningRateDecayOptimizerConstructor"), CONVNEXT)
    like = make_plan(wrapper(paramwise_cfg={"like": "LearningRateDecayOptimizerConstructor", **keys}), CONVNEXT)
    assert [(d.lr, d.weight_decay) for d in named] == [(d.lr, d.weight_decay) for d in like]
    assert named["backbone.stages.0.0.norm.weight"].weight_decay == 0.0


# --- config files in Python ------------------------------------------------------------------

BASE_FILE = "optim_wrapper = dict(optimizer=dict(type='adamw', lr=1e-3, weight_decay=0.05), accumulative_counts=2)\n"
FILE = (
    "_base_ = 'base.py'\n"
    "custom_imports = dict(imports='project_models')\n"
    "optim_wrapper = dict(constructor='optimbuild.OptimBuildConstructor', paramwise_cfg=dict(norm_decay_mult=0.0))\n"
    "model = dict(type='MMNet', depth=2)\n"
)
MODELS_FILE = (
    "from mmengine.registry import MODELS\n"
    "from tests.models import Net\n"
    "MODELS.register_module(name='MMNet', module=Net, force=True)\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a config file that builds on another one, and a model of its own."""
    for name, text in {"base.py": BASE_FILE, "config.py": FILE, "project_models.py": MODELS_FILE}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "project_models", raising=False)
    return tmp_path


def test_a_config_file_is_read_with_its_base(project: Path) -> None:
    plan = make_plan(str(project / "config.py"), Net())
    assert plan["norm.weight"].weight_decay == 0.0
    assert plan["head.weight"].weight_decay == 0.05


def test_the_command_line_plans_the_configs_own_model(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(project / "config.py")]) == 0
    shown = capsys.readouterr().out
    assert "Net: " in shown
    assert "adamw" in shown
    assert main(["explain", str(project / "config.py"), "blocks.1.norm.bias"]) == 0
    assert "norm: norm_decay_mult" in capsys.readouterr().out


def test_the_command_line_takes_another_model_as_well(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = "tests/golden/models/mmpretrain_deit_small.json"
    assert main(["plan", str(project / "config.py"), "--model", model]) == 0
    assert "152 tensors" in capsys.readouterr().out


def test_a_config_without_a_model_asks_for_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(project / "base.py")]) == 2
    assert "has no `model` to build" in capsys.readouterr().err


def test_a_model_that_nobody_registered_is_one_clear_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "config.py").write_text(FILE.replace("MMNet", "Nowhere"))
    assert main(["plan", str(project / "config.py")]) == 2
    error = capsys.readouterr().err
    assert "Nowhere" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("optim_wrapper = dict(", "cannot be read: SyntaxError"),
        ("raise ValueError('no')", "cannot be read: ValueError: 'no'"),
        ("raise SystemExit(0)", "cannot be read: SystemExit"),
        ("lr = 1", "has neither `optim_wrapper` nor `optimizer`"),
    ],
)
def test_a_python_file_that_is_no_config_is_an_error(project: Path, text: str | None, message: str) -> None:
    path = project / "broken.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OptimBuildError, match=message):
        make_plan(str(path), Net())


def test_no_yaml_file_can_have_a_python_file_run(project: Path) -> None:
    (project / "trap.py").write_text("raise SystemExit('ran')")
    for key in ("BASE", "_base_"):
        (project / "config.yaml").write_text(f"{key}: trap.py\noptim_wrapper: {{optimizer: {{type: adamw}}}}\n")
        with pytest.raises(OptimBuildError):
            make_plan(str(project / "config.yaml"), Net())


def test_the_same_config_may_be_yaml(project: Path) -> None:
    (project / "config.yaml").write_text(
        "optim_wrapper:\n"
        "  optimizer: {type: AdamW, lr: 1e-3, weight_decay: 0.05}\n"
        "  paramwise_cfg: {norm_decay_mult: 0}\n"
    )
    plan = make_plan(str(project / "config.yaml"), Net())
    assert plan["norm.weight"].weight_decay == 0.0
    assert plan.groups[0].optimizer == "mmengine.AdamW"


def test_prepared_data_has_only_the_names_of_the_wrappers_own_keys() -> None:
    made = mmengine.prepared(wrapper(dtype=torch.float16))
    assert made["optim_wrapper"] == {"optimizer": OPTIMIZER, "constructor": OURS, "dtype": None}


def test_a_warning_names_a_rule_as_the_config_has_it() -> None:
    rules = [{"type": "layer_decay", "ratio": 0.5, "layers": "vit", "num_layers": 2, "optional": True}]
    keys = {"norm_decay_mult": 0.0, "rules": rules}
    config = {"optim_wrapper": {"constructor": OURS, "optimizer": OPTIMIZER, "paramwise_cfg": keys}}
    (*_, warning) = make_plan(config, Inventory([ParamInfo("norm.weight", (2,), bases=("LayerNorm",))])).warnings
    assert warning.startswith("optim_wrapper.paramwise_cfg.rules[0] (layer_decay): the table 'vit' is about no name")
