"""The readings of published constructors: where they raise as the published code does, and one of a project's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import (
    CONSTRUCTORS,
    ConfigError,
    Inventory,
    ModelError,
    Published,
    RegistrationError,
    Translation,
    build_optimizer,
    constructor,
    inventory,
    make_plan,
)
from optimbuild.config.constructors.yolo import decay_factor

OPTIMIZER = {"type": "SGD", "lr": 0.1, "weight_decay": 5e-4}


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def wrapper(name: str, paramwise: Any = None, optimizer: Any = None, **keys: Any) -> dict[str, Any]:
    cfg = {} if paramwise is None else {"paramwise_cfg": paramwise}
    return {
        "optim_wrapper": {
            "type": "OptimWrapper",
            "constructor": name,
            "optimizer": optimizer or OPTIMIZER,
            **cfg,
            **keys,
        }
    }


LAYERED = "LearningRateDecayOptimizerConstructor"
WRONG: list[tuple[dict[str, Any], str, str]] = [
    (wrapper(LAYERED, {"decay_rate": 0.5}), "paramwise_cfg.num_layers", "is required"),
    (wrapper(LAYERED, {"num_layers": 6}), "paramwise_cfg.decay_rate", "is required"),
    (wrapper(LAYERED, {"num_layers": 6, "decay_rate": 0.5, "decay_type": "x"}), "paramwise_cfg.decay_type", "not 'x'"),
    (wrapper(LAYERED, {"num_layers": 6, "decay_rate": 0.5}), "paramwise_cfg", "model's `backbone`"),
    (
        wrapper(LAYERED, {"num_layers": 6, "decay_rate": 0.5}, {"type": "SGD", "lr": 0.1}),
        "optimizer.weight_decay",
        "computes with it",
    ),
    (
        wrapper("mmaction.LearningRateDecayOptimizerConstructor", {"num_layers": 6, "decay_rate": 0.5}),
        "paramwise_cfg",
        "of MMAction2 refuses it",
    ),
    (wrapper("LayerDecayOptimizerConstructor"), "paramwise_cfg", "fails without it"),
    (wrapper("LayerDecayOptimizerConstructor", {}), "paramwise_cfg.num_layers", "is required"),
    (wrapper("LayerDecayOptimWrapperConstructor"), "paramwise_cfg", "fails without it"),
    (wrapper("YOLOv5OptimizerConstructor", {}), "paramwise_cfg.base_total_batch_size", "is required"),
    (
        wrapper("YOLOv5OptimizerConstructor", None, {**OPTIMIZER, "batch_size_per_gpu": 0}),
        "optimizer.batch_size_per_gpu",
        "greater than 0",
    ),
    (wrapper("TSMOptimWrapperConstructor", {"fc": True}), "paramwise_cfg.fc_lr5", "is required"),
    (
        wrapper("TSMOptimWrapperConstructor", {"fc_lr5": True}, {"type": "SGD", "lr": 0.1}),
        "optimizer.weight_decay",
        "computes with it",
    ),
    (wrapper("SwinOptimWrapperConstructor", {"0": 5}), "paramwise_cfg['0']", "must be a mapping with lr_mult"),
    (wrapper("SwinOptimWrapperConstructor", {"0": {"lr_mult": -1}}), "paramwise_cfg['0'].lr_mult", "must be greater"),
    (wrapper("LearningRateDecayOptimWrapperConstructor", {"norm_decay_mult": 0}), "paramwise_cfg", "get_layer_depth"),
    (wrapper("YOLOv6OptimizerConstructor"), "constructor", "Did you mean 'YOLOv5OptimizerConstructor'"),
]


@pytest.mark.parametrize(("config", "path", "message"), WRONG, ids=[f"{i}-{w[1]}" for i, w in enumerate(WRONG)])
def test_where_the_published_constructor_fails_a_plan_does(config: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_plan(config, net())
    assert caught.value.path == f"optim_wrapper.{path}"


def test_a_yolo_config_without_the_wrappers_type_fails_as_published() -> None:
    config = wrapper("YOLOv5OptimizerConstructor")
    del config["optim_wrapper"]["type"]
    with pytest.raises(ConfigError, match="fails without it") as caught:
        make_plan(config, net())
    assert caught.value.path == "optim_wrapper.type"


def test_by_like_a_yolo_config_needs_no_type_of_the_wrapper() -> None:
    config = wrapper("optimbuild.OptimBuildConstructor", {"like": "YOLOv5OptimizerConstructor"})
    del config["optim_wrapper"]["type"]
    assert [group.name for group in make_plan(config, net()).groups] == ["weights", "norms", "biases"]


def test_like_may_be_the_class_itself_as_in_a_config_that_imports_it() -> None:
    cls = type("YOLOv5OptimizerConstructor", (), {"__module__": "mmyolo.engine.optimizers"})
    plans = [
        make_plan(wrapper("optimbuild.OptimBuildConstructor", {"like": like}), net()) for like in (cls, cls.__name__)
    ]
    assert plans[0].fingerprint == plans[1].fingerprint
    swin = make_plan(wrapper("SwinOptimWrapperConstructor", {"like": {"lr_mult": 0.5}}), net())
    assert "like" in swin.warnings[0]


@pytest.mark.parametrize(("total", "factor"), [(12, 0.9375), (24, 1.125), (43, 0.671875), (96, 1.5), (128, 2.0)])
def test_the_weight_decay_of_yolo_is_scaled_below_and_above_64(total: int, factor: float) -> None:
    assert decay_factor(total, 64) == factor


def test_an_explanation_says_how_the_weight_decay_of_yolo_was_scaled() -> None:
    config = wrapper("YOLOv5OptimizerConstructor", None, {**OPTIMIZER, "batch_size_per_gpu": 16})
    (step,) = make_plan(config, net(), world_size=8).explain("0.weight")
    assert step.after == {"weight_decay": 0.001, "group": "weights"}
    assert step.why.endswith("weight decay 0.0005 x 2.0, for a batch size of 128")


def test_without_a_weight_decay_yolos_other_groups_have_the_classes_own() -> None:
    config = wrapper("YOLOv5OptimizerConstructor", None, {"type": "AdamW", "lr": 0.1})
    assert [group.options["weight_decay"] for group in make_plan(config, net()).groups] == [0.0, 0.01, 0.01]


@pytest.mark.parametrize("name", ["YOLOv5OptimizerConstructor", "YOLOv7OptimWrapperConstructor"])
@pytest.mark.parametrize(("given", "told"), [({}, 0), ({"weight_decay": 0.0}, 0), ({"weight_decay": 5e-4}, 1)])
def test_yolo_builds_an_optimizer_that_has_no_weight_decay(name: str, given: Any, told: int) -> None:
    rprop = {"type": "Rprop", "lr": 0.1, "batch_size_per_gpu": 96, **given}
    plan = make_plan(wrapper(name, None, rprop), net())
    assert plan.groups[0].params == ("0.weight", "2.weight")
    assert not any("weight_decay" in group.options for group in plan.groups)
    warning = "optim_wrapper.optimizer.weight_decay does nothing, because mmengine.Rprop has none"
    assert list(plan.warnings) == [warning] * told
    assert len(build_optimizer(plan, net()).param_groups) == 3


def test_an_optimizer_that_takes_one_group_fails_at_yolos_three() -> None:
    config = wrapper("YOLOv5OptimizerConstructor", None, {"type": "LBFGS", "lr": 0.1})
    with pytest.raises(ConfigError, match="LBFGS doesn't support per-parameter options") as caught:
        build_optimizer(config, net())
    assert caught.value.path == "optim_wrapper.optimizer"


def test_rules_come_behind_what_a_constructor_gives() -> None:
    keys = {"like": "TSMOptimWrapperConstructor", "fc_lr5": True, "rules": [{"type": "freeze", "patterns": ["0"]}]}
    plan = make_plan(wrapper("optimbuild.OptimBuildConstructor", keys), net())
    assert plan.frozen == ("0.weight", "0.bias")
    assert [group.name for group in plan.groups if group.params] == ["norms", "last_weight", "last_bias"]
    wrong = {**keys, "rules": [{"type": "freeze", "patterns": ["hed"]}]}
    with pytest.raises(ConfigError) as caught:
        make_plan(wrapper("optimbuild.OptimBuildConstructor", wrong), net())
    assert caught.value.path == "optim_wrapper.paramwise_cfg.rules[0].patterns[0]"


def test_force_default_settings_put_the_general_keys_on_top() -> None:
    keys = {"bias_lr_mult": 2.0, "norm_decay_mult": 0.0, "custom_keys": {"0": {"lr_mult": 4.0, "decay_mult": 0.5}}}
    name = "ForceDefaultOptimWrapperConstructor"
    on, off = (make_plan(wrapper(name, {**keys, "force_default_settings": force}), net()) for force in (True, False))
    assert (on["0.weight"].lr, on["0.bias"].lr, on["0.bias"].weight_decay) == (0.4, 0.2, 5e-4 * 0.5)
    assert (off["0.bias"].lr, off["1.weight"].weight_decay) == (0.4, 0.0)


def test_marks_reach_the_groups_and_typos_stay_errors() -> None:
    custom = {"custom_keys": {"0": {"fix_lr": True}, "2": {"marks": {"mine": 3}}}}
    plan = make_plan(wrapper("DefaultOptimWrapperConstructor", custom), net())
    assert [(group.options.get("fix_lr"), group.options.get("mine")) for group in plan.groups] == [
        (True, None),
        (None, None),
        (None, 3),
    ]
    for wrong in ({"fix_lrs": True}, {"marks": {"lr": 1.0}}, {"marks": {"params": 1.0}}):
        with pytest.raises(ConfigError):
            make_plan(wrapper("DefaultOptimWrapperConstructor", {"custom_keys": {"0": wrong}}), net())


def test_what_a_step_reads_from_a_group_is_taken_as_an_option() -> None:
    lars = {"type": "LARS", "lr": 0.1, "weight_decay": 1e-6}
    config = wrapper("DefaultOptimWrapperConstructor", {"custom_keys": {"1": {"lars_exclude": True}}}, lars)
    plan = make_plan(config, net())
    assert [group.options.get("lars_exclude") for group in plan.groups] == [None, True]
    with pytest.raises(ConfigError, match="Did you mean 'lars_exclude'"):
        make_plan(wrapper("DefaultOptimWrapperConstructor", {"custom_keys": {"1": {"lars_exlude": 1}}}, lars), net())
    config["optim_wrapper"]["optimizer"] = OPTIMIZER
    with pytest.raises(ConfigError, match="takes no option 'lars_exclude'"):
        make_plan(config, net())


def test_a_mistake_in_a_rule_of_a_project_is_told_of_the_keys_it_has() -> None:
    @constructor("HalfConstructor", force=True)
    def half(published: Published) -> Translation:
        factor = (published.paramwise_cfg or {}).get("factor", -1)
        rules = [{"type": "match", "table": {"0": {"lr_mult": factor}}}]
        paths = {"rules[0].table['0'].lr_mult": f"{published.cfg}.factor"}
        return Translation(rules, paths=paths if published.paramwise_cfg else {})

    for keys, path, told in (
        ({"factor": -2}, "paramwise_cfg.factor", "must be greater than or equal to 0 (given: -2)"),
        (None, "constructor", "(given: -1) (at rules[0].table['0'].lr_mult of what it is read as)"),
    ):
        with pytest.raises(ConfigError) as caught:
            make_plan(wrapper("HalfConstructor", keys), net())
        assert caught.value.path == f"optim_wrapper.{path}"
        assert caught.value.message.endswith(told)


def test_a_project_registers_the_reading_of_its_own_constructor() -> None:
    @constructor("SlowStemConstructor", force=True)
    def slow_stem(published: Published) -> Translation:
        rule = {"type": "match", "table": {"0": {"lr_mult": (published.paramwise_cfg or {})["stem"]}}}
        return Translation([rule], warnings=[f"for {published.world_size} ranks"])

    plan = make_plan(wrapper("my_project.SlowStemConstructor", {"stem": 0.5}), net(), world_size=4)
    assert plan["0.weight"].lr == 0.05
    assert plan.warnings == ("for 4 ranks",)
    assert CONSTRUCTORS.origin("SlowStemConstructor").file == __file__
    with pytest.raises(ConfigError, match=r"SlowStemConstructor raised KeyError: .*test_constructors\.py") as caught:
        make_plan(wrapper("SlowStemConstructor", {}), net())
    assert caught.value.path == "optim_wrapper.paramwise_cfg"
    with pytest.raises(RegistrationError, match="registered twice"):
        constructor("SlowStemConstructor")(lambda published: Translation())
    with pytest.raises(RegistrationError, match="must be a function"):
        constructor("Other")(5)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="takes a name"):
        constructor(slow_stem)  # type: ignore[arg-type]


class Tokens(nn.Module):
    """A detector with tokens of its own, beside those of its backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = type("ConvNeXt", (nn.Module,), {})()
        self.backbone.pos_embed = nn.Parameter(torch.zeros(1, 3, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 3, 4))


@pytest.mark.parametrize("scope", ["mmdet", "mmseg"])
def test_tokens_of_the_model_itself_are_spared_by_their_whole_names(scope: str) -> None:
    plan = make_plan(wrapper(f"{scope}.{LAYERED}", {"num_layers": 6, "decay_rate": 0.5}), Tokens())
    assert plan["pos_embed"].weight_decay == 0
    assert plan["backbone.pos_embed"].weight_decay != 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": None},
        {"rules": 5},
        {"rules": [5]},
        {"options": 5},
        {"warnings": None},
        {"warnings": "abc"},
        {"paths": 5},
    ],
)
def test_what_a_reading_of_a_plugin_gets_wrong_is_told(wrong: dict[str, Any]) -> None:
    constructor("TestWrong", force=True)(lambda _: Translation(**wrong))
    with pytest.raises(ConfigError, match="the reading of TestWrong must return a Translation of rules"):
        make_plan(wrapper("TestWrong", {}), net())


def namesake(name: str, base: type[nn.Module], *args: Any) -> nn.Module:
    """Return a module whose class is called like one of torch."""
    return type(name, (base,), {})(*args)


def test_yolo_takes_no_other_class_for_a_norm_because_of_its_name() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4), namesake("InstanceNorm2d", nn.Linear, 4, 4))
    plan = make_plan(wrapper("YOLOv5OptimizerConstructor"), model)
    assert [group.params for group in plan.groups] == [("1.weight",), ("0.weight",), ("0.bias", "1.bias")]
    plan = make_plan(wrapper("YOLOv7OptimWrapperConstructor"), nn.Sequential(namesake("ImplicitA", nn.PReLU), net()))
    assert plan.groups[0].params == ("0.weight", "1.0.weight", "1.2.weight")


class Implicit(nn.Module):
    """Implicit knowledge, as MMYOLO has it in two classes; it has a weight beside."""

    def __init__(self) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.weight = nn.Parameter(torch.zeros(3))


def implicit(name: str, package: str) -> nn.Module:
    """Return a module of a class of that name in a package."""
    return type(name, (Implicit,), {"__module__": f"{package}.models.dense_heads"})()


def test_yolov7_knows_implicit_tensors_by_their_class() -> None:
    derived = type("MyImplicit", (type(implicit("ImplicitM", "mmyolo")),), {})()
    model = nn.Sequential(net(), implicit("ImplicitA", "mmyolo"), derived, implicit("ImplicitA", "elsewhere"))
    for found in (model, Inventory.from_dict(inventory(model).to_dict())):
        plan = make_plan(wrapper("YOLOv7OptimWrapperConstructor"), found)
        assert plan.groups[1].params == ("0.1.weight", "1.implicit", "2.implicit")
        assert plan.frozen == ("1.weight", "2.weight", "3.implicit")
        assert plan.explain("2.implicit")[0].why.startswith("called implicit, of mmyolo.ImplicitA")
    v5 = make_plan(wrapper("YOLOv5OptimizerConstructor"), model)
    assert v5.frozen == ("1.implicit", "2.implicit", "3.implicit")


def test_yolov7_believes_the_name_in_a_file_that_has_no_package() -> None:
    rows = [{"name": name, "shape": [1, 3, 1, 1], "owner": "ImplicitA", "bases": []} for name in ("a.implicit", "a.w")]
    plan = make_plan(wrapper("YOLOv7OptimWrapperConstructor"), Inventory.from_dict({"params": rows}))
    assert (plan.groups[1].params, plan.frozen) == (("a.implicit",), ("a.w",))
    assert "ImplicitA (by its name)" in plan.explain("a.implicit")[0].why


@pytest.mark.parametrize(
    ("name", "keys", "told"),
    [
        ("SwinOptimWrapperConstructor", {"0": {"lr_mult": 0.5}}, "which torch refuses"),
        ("ForceDefaultOptimWrapperConstructor", {"bias_decay_mult": 0.0}, "unless bypass_duplicate is set"),
        ("DefaultOptimWrapperConstructor", {"bias_decay_mult": 0.0, "bypass_duplicate": True}, ""),
        ("TSMOptimWrapperConstructor", {"fc_lr5": True}, "hands it over once for each"),
        ("YOLOv5OptimizerConstructor", None, "hands it over once for each"),
    ],
)
def test_a_shared_tensor_is_planned_once_and_told(name: str, keys: Any, told: str) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), net())
    model[1].weight = model[0].weight
    plan = make_plan(wrapper(name, keys), model)
    notes = [note for note in plan.notes if "planned once" in note]
    assert [note.endswith(f"{told}: 0.weight") for note in notes] == [True] * bool(told)
    assert len(plan) == 9


def test_tsm_has_no_place_for_a_class_that_is_only_called_linear() -> None:
    model = nn.Sequential(net(), namesake("Linear", nn.PReLU))
    with pytest.raises(ModelError, match=r"no place for the parameters of a Linear: 1\.weight"):
        make_plan(wrapper("TSMOptimWrapperConstructor", {"fc_lr5": True}), model)


def test_tsm_leaves_out_what_is_beside_modules_without_parameters() -> None:
    gate = nn.PReLU()
    gate.act = nn.ReLU()  # type: ignore[assignment]
    plan = make_plan(wrapper("TSMOptimWrapperConstructor", {"fc_lr5": True}), nn.Sequential(net(), gate))
    assert plan.frozen == ("1.weight",)


BARE = nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize(
    ("name", "keys", "why"),
    [
        ("YOLOv5OptimizerConstructor", None, "puts the weight of each into a group"),
        ("YOLOv7OptimWrapperConstructor", None, "puts the weight of each into a group"),
        (f"mmaction.{LAYERED}", {"num_layers": 6, "decay_rate": 0.5}, "refuses it"),
    ],
)
def test_a_norm_without_parameters_fails_where_it_does_when_published(name: str, keys: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        make_plan(wrapper(name, keys), BARE)
    assert "It has: 1" in caught.value.message
    assert caught.value.path == f"optim_wrapper.{'constructor' if keys is None else 'paramwise_cfg'}"


def test_a_norm_without_parameters_fails_whatever_is_inside_of_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    model[1].inner = nn.PReLU()
    with pytest.raises(ConfigError, match=r"It has: 1 "):
        make_plan(wrapper("YOLOv5OptimizerConstructor"), model)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("TSMOptimWrapperConstructor", {"fc_lr5": True}),
        ("SwinOptimWrapperConstructor", {"0": {"lr_mult": 0.5}}),
        ("ForceDefaultOptimWrapperConstructor", {"norm_decay_mult": 0.0}),
        ("LayerDecayOptimWrapperConstructor", {"num_layers": 2, "layer_decay_rate": 0.5}),
    ],
)
def test_a_norm_without_parameters_is_nothing_to_the_others(name: str, keys: Any) -> None:
    assert not make_plan(wrapper(name, keys), BARE).frozen


@pytest.mark.parametrize("size", ["8", 2.5, True, 0])
def test_a_number_of_ranks_is_a_whole_number(size: Any) -> None:
    with pytest.raises(ConfigError, match="must be a whole number from 1"):
        make_plan(wrapper("YOLOv5OptimizerConstructor", {"base_total_batch_size": 64}), net(), world_size=size)
