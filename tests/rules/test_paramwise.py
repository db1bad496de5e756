"""MMEngine's classic keys on plain names and shapes; against MMEngine itself in ``tests/integrations``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan
from optimbuild.model.hints import Hints
from optimbuild.rules.paramwise import NORMS

GOLDEN = Path(__file__).parent.parent / "golden"
BASE = {"type": "adamw", "lr": 0.1, "weight_decay": 0.5}


def norm(name: str, bases: tuple[str, ...] = ("LayerNorm",)) -> ParamInfo:
    return ParamInfo(name, (4,), owner=bases[0], bases=bases, kinds=frozenset({"norm"}))


def linear(name: str, *shape: int) -> ParamInfo:
    return ParamInfo(name, shape or (4, 4), owner="Linear", bases=("Linear",))


def conv(
    name: str, *, depthwise: bool = False, owner: str = "Conv2d", bases: tuple[str, ...] = ("Conv2d",)
) -> ParamInfo:
    kinds = frozenset({"conv", "depthwise"} if depthwise else {"conv"})
    return ParamInfo(name, (4,) if name.endswith("bias") else (4, 1, 3, 3), owner=owner, bases=bases, kinds=kinds)


def planned(*params: ParamInfo, hooks: Hints | None = None, **options: Any) -> Plan:
    config = {"optimizer": BASE, "rules": [{"type": "paramwise", "optional": True, **options}]}
    return make_plan(config, Inventory(params, hooks or Hints()))


def got(plan: Plan) -> dict[str, tuple[float | None, float | None]]:
    return {decision.name: (decision.lr, decision.weight_decay) for decision in plan}


def test_the_published_deit_small_settings_come_out_exactly() -> None:
    case = json.loads((GOLDEN / "cases" / "mmpretrain_deit_small.json").read_text("utf-8"))
    plan = make_plan(case["config"], GOLDEN / "models" / "mmpretrain_deit_small.json")
    assert [(d.name, d.lr, d.weight_decay) for d in plan] == [
        (param["name"], param["lr"], param["weight_decay"]) for param in case["params"]
    ]
    assert plan.frozen == tuple(case["frozen"]) == ()
    assert plan.groups[0].optimizer == "mmengine.AdamW"
    assert len(plan.groups) == 28


def test_the_longest_custom_key_counts_and_the_alphabet_breaks_ties() -> None:
    keys = {"a.b": {"lr_mult": 0.5}, "b.c": {"lr_mult": 0.25}, "a.b.c": {"lr_mult": 0.125}, "b": {"lr_mult": 2}}
    plan = planned(
        linear("a.b.c.weight"), linear("a.b.x.weight"), linear("x.b.c.weight"), linear("xa.b.cx"), custom_keys=keys
    )
    assert [d.lr for d in plan] == [0.1 * 0.125, 0.1 * 0.5, 0.1 * 0.25, 0.1 * 0.125]
    both = planned(linear("a.b.c"), custom_keys={"b.c": {"lr_mult": 0.25}, "a.b": {"lr_mult": 0.5}})
    assert both["a.b.c"].lr == 0.1 * 0.5


def test_a_custom_key_switches_the_other_keys_off() -> None:
    plan = planned(
        norm("neck.norm.weight"), norm("norm.weight"), norm_decay_mult=0.0, custom_keys={"neck": {"lr_mult": 0.5}}
    )
    assert got(plan) == {"neck.norm.weight": (0.05, 0.5), "norm.weight": (0.1, 0.0)}


def test_the_name_of_a_root_parameter_begins_with_a_dot() -> None:
    plan = planned(
        ParamInfo("cls_token", (1, 1, 4)),
        ParamInfo("backbone.cls_token", (1, 1, 4)),
        ParamInfo("xcls_token", (1, 1, 4)),
        custom_keys={".cls_token": {"decay_mult": 0.0}},
    )
    assert [d.weight_decay for d in plan] == [0.0, 0.0, 0.5]


def test_options_in_a_custom_key_are_set_and_win_over_its_factors() -> None:
    key = {"lr": 0.003, "lr_mult": 0.1, "decay_mult": 0.1, "betas": [0.5, 0.75]}
    plan = planned(linear("head.weight"), linear("neck.weight"), custom_keys={"head": key})
    assert plan["head.weight"].options == {
        **(plan["neck.weight"].options or {}),
        "lr": 0.003,
        "weight_decay": 0.5 * 0.1,
        "betas": (0.5, 0.75),
    }


def test_a_custom_key_with_an_option_unknown_to_the_optimizer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"adamw takes no option 'momentum'"):
        planned(linear("head.weight"), custom_keys={"head": {"momentum": 0.9}})


def test_decay_factors_apply_in_mmengines_order() -> None:
    params = (
        norm("norm.bias"),
        linear("fc.bias", 4),
        conv("dw.bias", depthwise=True),
        conv("dw.weight", depthwise=True),
        linear("scale", 4),
        linear("fc.weight"),
    )
    every = {"norm_decay_mult": 0.1, "bias_decay_mult": 0.2, "dwconv_decay_mult": 0.3, "flat_decay_mult": 0.4}
    expected = [0.5 * 0.1, 0.5 * 0.2, 0.5 * 0.2, 0.5 * 0.3, 0.5 * 0.4, 0.5]
    assert [d.weight_decay for d in planned(*params, **every)] == expected
    del every["norm_decay_mult"], every["bias_decay_mult"]
    assert [d.weight_decay for d in planned(*params, **every)] == [0.5 * m for m in (0.4, 0.4, 0.3, 0.3, 0.4, 1)]


def test_a_factor_of_null_counts_as_not_given() -> None:
    assert got(planned(norm("norm.weight"), norm_decay_mult=None, flat_decay_mult=0.0)) == {"norm.weight": (0.1, 0.0)}


def test_only_the_norms_that_mmengine_knows_count() -> None:
    assert planned(norm("norm.weight", ("RMSNorm",)), norm_decay_mult=0.0)["norm.weight"].weight_decay == 0.5
    for name in ("BatchNorm2d", "SyncBatchNorm", "_InstanceNorm", "LazyInstanceNorm3d", "GroupNorm"):
        assert name in NORMS
        assert planned(norm("n.weight", (name,)), norm_decay_mult=0.0)["n.weight"].weight_decay == 0.0


def test_one_dimensional_and_transposed_convolutions_are_no_depthwise_ones() -> None:
    plan = planned(
        conv("a.weight", depthwise=True, owner="Conv1d", bases=("Conv1d",)),
        conv("b.weight", depthwise=True, owner="ConvTranspose2d", bases=("ConvTranspose2d",)),
        conv("c.weight", depthwise=True, owner="MyConv", bases=("Conv2d",)),
        dwconv_decay_mult=0.0,
    )
    assert [d.weight_decay for d in plan] == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("name", ["c.parametrizations.weight.original0", "c.taps.0"])
def test_mmengine_does_not_see_what_holds_a_parametrized_tensor(name: str) -> None:
    norm = ParamInfo(name.replace("c.", "n."), (4,), owner="BatchNorm2d", bases=("BatchNorm2d",))
    found = planned(conv(name, depthwise=True), norm, dwconv_decay_mult=0.0, norm_decay_mult=0.0)
    assert {decision.weight_decay for decision in found} == {0.5}


def test_biases_of_norms_keep_their_lr() -> None:
    plan = planned(norm("norm.bias"), linear("fc.bias", 4), linear("fc.weight"), bias_lr_mult=2.0)
    assert [d.lr for d in plan] == [0.1, 0.2, 0.1]


def test_the_offset_of_a_deformable_convolution_has_only_its_own_lr() -> None:
    deformable = {"owner": "ModulatedDeformConv2dPack", "bases": ("ModulatedDeformConv2dPack", "ModulatedDeformConv2d")}
    plan = planned(
        conv("dcn.weight", **deformable),
        conv("dcn.bias", **deformable),
        conv("dcn.conv_offset.weight"),
        conv("dcn.conv_offset.bias"),
        conv("dcn.other.bias"),
        conv("dcn.conv_offset.deeper.bias"),
        conv("plain.conv_offset.bias"),
        dcn_offset_lr_mult=0.25,
        bias_lr_mult=2.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    )
    assert got(plan) == {
        "dcn.weight": (0.1, 0.5),
        "dcn.bias": (0.2, 0.0),
        "dcn.conv_offset.weight": (0.1 * 0.25, 0.5),
        "dcn.conv_offset.bias": (0.1 * 0.25, 0.5),
        "dcn.other.bias": (0.1, 0.5),
        "dcn.conv_offset.deeper.bias": (0.2, 0.0),
        "plain.conv_offset.bias": (0.2, 0.0),
    }


def test_a_class_that_is_only_named_like_one_of_mmcvs_is_none() -> None:
    plan = planned(
        conv("dcn.weight", owner="DeformConv2d", bases=()), conv("dcn.conv_offset.weight"), dcn_offset_lr_mult=0.25
    )
    assert plan["dcn.conv_offset.weight"].lr == 0.1


def test_a_shared_tensor_is_judged_by_its_first_name() -> None:
    shared = ParamInfo("embed.weight", (9, 4), owner="Embedding", aliases=("head.weight",))
    plan = planned(shared, linear("x"), custom_keys={"head": {"lr_mult": 0.5}, "embed": {"lr_mult": 0.25}})
    assert plan["head.weight"].lr == 0.1 * 0.25
    assert plan.warnings == ("rules[0] (paramwise): custom_keys['head'] does nothing: no parameter's name contains it",)


def test_a_custom_key_that_does_nothing_is_a_warning_with_the_reason() -> None:
    plan = planned(linear("a.b.weight"), custom_keys={"a": {"lr_mult": 2}, "a.b": {}, "absolute_pos_embed": {}})
    assert [text.partition(": ")[2] for text in plan.warnings] == [
        "custom_keys['absolute_pos_embed'] does nothing: no parameter's name contains it",
        "custom_keys['a'] does nothing: custom_keys['a.b'] takes every name that contains it",
    ]


def told(plan: Plan) -> list[str]:
    return [text.partition(": ")[2] for text in plan.warnings]


def test_a_general_key_that_custom_keys_leave_nothing_is_a_warning() -> None:
    keys = {"backbone": {"lr_mult": 0.1}, "head": {"weight_decay": 0.5}}
    params = (norm("backbone.norm.weight"), linear("backbone.fc.weight"), norm("head.norm.weight"), linear("neck"))
    assert told(planned(*params, norm_decay_mult=0.0, custom_keys=keys)) == [
        "norm_decay_mult does nothing: custom_keys['backbone'], custom_keys['head'] take every norm first"
    ]


def test_a_general_key_is_not_shadowed_by_one_that_does_the_same() -> None:
    keys = {"backbone": {"lr_mult": 0.1, "decay_mult": 0.0}}
    params = (norm("backbone.norm.weight"), linear("head.weight"), linear("head.bias", 4))
    assert told(planned(*params, norm_decay_mult=0.0, custom_keys=keys)) == []
    assert told(planned(*params, norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)) == []


def test_a_general_key_before_which_another_one_comes_is_told() -> None:
    params = (norm("norm.weight"), linear("fc.bias", 4), linear("fc.weight"))
    plan = planned(*params, norm_decay_mult=0.5, bias_decay_mult=0.25, flat_decay_mult=0.0)
    assert told(plan) == [
        "flat_decay_mult does nothing: norm_decay_mult, bias_decay_mult take every one-dimensional tensor first"
    ]


def test_a_general_key_for_which_the_model_has_nothing_is_told() -> None:
    rms = ParamInfo("norm.weight", (4,), owner="RMSNorm", bases=("RMSNorm",), kinds=frozenset({"norm"}))
    frozen = norm("stem.norm.weight")._replace(trainable=False)
    plan = planned(rms, frozen, linear("fc.weight"), norm_decay_mult=0.0, dwconv_decay_mult=1.0)
    assert "norm_decay_mult does nothing: MMEngine finds no norm that trains" in told(plan)
    assert not any("dwconv" in text for text in told(plan))


def test_a_general_key_that_reaches_a_part_is_a_note() -> None:
    params = (norm("backbone.norm.weight"), norm("head.norm.weight"), linear("fc"))
    plan = planned(*params, norm_decay_mult=0.0, custom_keys={"backbone": {"lr_mult": 0.1}})
    assert plan.warnings == ()
    assert plan.notes == (
        "paramwise: norm_decay_mult reaches 1 of 2 tensors: custom_keys['backbone'] takes the others first",
    )


def test_every_step_says_which_key_it_was() -> None:
    plan = planned(linear("fc.bias", 4), linear("fc.weight"), bias_lr_mult=2.0, bias_decay_mult=0.0)
    (step,) = plan.explain("fc.bias")
    assert str(step) == "paramwise: lr: 0.1 → 0.2, weight_decay: 0.5 → 0.0 (bias: bias_lr_mult; bias: bias_decay_mult)"
    assert plan.explain("fc.weight") == ()


# --- with layer_decay_rate, as MMPretrain reads the keys -------------------------------------

DEPTHS = {"cls_token": [0, 3], "layers.0.norm.bias": [1, 3], "layers.0.fc.bias": [1, 3], "layers.0.fc.weight": [1, 3]}
LAYERED = (
    ParamInfo("cls_token", (1, 4)),
    norm("layers.0.norm.bias"),
    linear("layers.0.fc.bias", 4),
    linear("layers.0.fc.weight"),
)


def layered(**options: Any) -> Plan:
    return planned(*LAYERED, hooks=Hints({"get_layer_depth": DEPTHS}), layer_decay_rate=0.3, **options)


def test_layer_decay_takes_the_depth_from_the_model() -> None:
    assert [d.lr for d in layered()] == [0.1 * 0.3**2, 0.1 * 0.3, 0.1 * 0.3, 0.1 * 0.3]
    assert "layer 0 of 3: layer_decay_rate" in str(layered().explain("cls_token")[0])


def test_beside_layer_decay_root_names_have_no_dot() -> None:
    assert layered(custom_keys={".cls_token": {"decay_mult": 0}})["cls_token"].weight_decay == 0.5
    assert layered(custom_keys={"cls_token": {"decay_mult": 0}})["cls_token"].weight_decay == 0.0


def test_beside_layer_decay_a_custom_key_changes_everything_but_the_lr() -> None:
    plan = layered(custom_keys={"fc": {"lr_mult": 9.0, "lr": 9.0, "betas": [0.5, 0.5]}}, bias_decay_mult=0.0)
    assert plan["layers.0.fc.bias"].lr == 0.1 * 0.3
    assert plan["layers.0.fc.bias"].weight_decay == 0.5
    assert (plan["layers.0.fc.bias"].options or {})["betas"] == (0.5, 0.5)
    assert plan["layers.0.norm.bias"].weight_decay == 0.0
    assert [text.partition(": ")[2] for text in plan.warnings] == [
        f"custom_keys['fc'].{key} does nothing beside layer_decay_rate, as in MMPretrain" for key in ("lr_mult", "lr")
    ]


def test_beside_layer_decay_a_shadowed_key_is_told_too() -> None:
    assert told(layered(custom_keys={"layers": {}}, norm_decay_mult=0.0)) == [
        "norm_decay_mult does nothing: custom_keys['layers'] takes every norm first"
    ]


def test_beside_layer_decay_other_keys_do_nothing_and_say_so() -> None:
    plan = layered(bias_lr_mult=9.0, dwconv_decay_mult=0.0, dcn_offset_lr_mult=9.0)
    assert [d.lr for d in plan] == [d.lr for d in layered()]
    assert len(plan.warnings) == 3


def test_layer_decay_needs_the_models_method_or_names_the_other_rule() -> None:
    with pytest.raises(
        ConfigError, match=r"rules\[0\]\.layer_decay_rate: asks the model for get_layer_depth.*layer_decay"
    ) as e:
        planned(*LAYERED, layer_decay_rate=0.3)
    assert e.value.path == "rules[0].layer_decay_rate"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_decay_mul": 0}, r"unknown key 'norm_decay_mul'\. Did you mean 'norm_decay_mult'"),
        ({"norm_decay_mult": -1}, r"norm_decay_mult: must be greater than or equal to 0"),
        ({"norm_decay_mult": "none"}, r"norm_decay_mult: must be a"),
        ({"norm_decay_mult": True}, r"norm_decay_mult: must be a number, not a truth value"),
        ({"custom_keys": ["head"]}, r"custom_keys: must be a"),
        ({"custom_keys": {"head": 0.1}}, r"custom_keys\.head: must be a"),
        ({"custom_keys": {"head": {"lr_mult": "x"}}}, r"custom_keys\.head\.lr_mult: must be a"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_path(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(linear("head.weight"), **options)
