"""Parity, bit for bit, with what the published builders gave, and the documented differences, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import Inventory, OptimBuildError, ParamInfo, UnknownNameError, build_optimizer, inventory, make_plan
from optimbuild.model.hints import Hints
from tests.golden_cases import YACS, golden_inventory, module_of
from tests.properties import examples

BUILT = [name for name, case in YACS.items() if "raises" not in case]
UNLIKE = ("internimage_l_22kto1k_384_without_lr_decay", "internvit_6b_linear_probing_wd")
"""The cases in which the published code departs from its documentation."""


def with_keys(config: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return a yacs config with other keys under ``TRAIN.OPTIMIZER``."""
    train = config["TRAIN"]
    return {"TRAIN": {**train, "OPTIMIZER": {**train.get("OPTIMIZER", {}), **keys}}}


def settings_of(plan: Any) -> dict[str, tuple[float, float]]:
    return {decision.name: (decision.lr, decision.weight_decay) for decision in plan if not decision.frozen}


def measured(case: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return what the published code gave to the parameters that it left trainable."""
    frozen = set(case["frozen"])
    return {row["name"]: (row["lr"], row["weight_decay"]) for row in case["params"] if row["name"] not in frozen}


# --- the measured cases ----------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT)
def test_with_quirks_every_parameter_gets_what_was_measured(name):
    case = YACS[name]
    plan = make_plan(with_keys(case["config"], REFERENCE_QUIRKS=True), golden_inventory(case["model"]))
    assert settings_of(plan) == measured(case)
    assert set(plan.frozen) == set(case["frozen"])


@pytest.mark.parametrize("name", BUILT)
def test_with_quirks_class_defaults_and_groups_are_as_measured(name):
    case = YACS[name]
    model = module_of(golden_inventory(case["model"]))
    optimizer = build_optimizer(with_keys(case["config"], REFERENCE_QUIRKS=True, USE_ZERO=False), model)
    assert type(optimizer).__name__ == case["optimizer"]["cls"]
    for option, value in case["optimizer"]["defaults"].items():
        expected = tuple(value) if isinstance(value, list) else value
        assert optimizer.defaults[option] == expected
        assert all(group[option] == expected for group in optimizer.param_groups)
    built = {
        name: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for name in group["param_names"]
    }
    assert built == measured(case)
    assert {name for name, tensor in model.named_parameters() if not tensor.requires_grad} == set(case["frozen"])


@pytest.mark.parametrize("name", [name for name in BUILT if name not in UNLIKE])
def test_without_quirks_nothing_differs_where_code_and_documentation_agree(name):
    case = YACS[name]
    plan = make_plan(case["config"], golden_inventory(case["model"]))
    assert settings_of(plan) == measured(case)
    assert set(plan.frozen) == set(case["frozen"])
    assert not [warning for warning in plan.warnings if "REFERENCE_QUIRKS" in warning]


# --- the documented differences --------------------------------------------------------------


def test_the_lr_factor_of_deformable_convolutions_needs_no_layer_decay():
    case = YACS["internimage_l_22kto1k_384_without_lr_decay"]
    plan = make_plan(case["config"], golden_inventory(case["model"]))
    pieces = ("offset", "attention_weights", "center_feature_scale_proj", "alpha_beta")
    slowed = [name for name in measured(case) if any(piece in name for piece in pieces)]
    assert len(slowed) > 20
    expected = {n: (lr * 0.1 if n in slowed else lr, decay) for n, (lr, decay) in measured(case).items()}
    assert settings_of(plan) == expected
    assert any("REFERENCE_QUIRKS: True) it would differ: lr of" in warning for warning in plan.warnings)


def test_linear_probing_has_no_weight_decay():
    case = YACS["internvit_6b_linear_probing_wd"]
    plan = make_plan(case["config"], golden_inventory(case["model"]))
    assert settings_of(plan) == {name: (lr, 0.0) for name, (lr, _) in measured(case).items()}
    assert any(
        "REFERENCE_QUIRKS: True) it would differ" in warning and "weight_decay of" in warning
        for warning in plan.warnings
    )
    assert any("sgd_linear_probing fixes weight_decay to 0.0" in warning for warning in plan.warnings)


def test_frozen_parameters_are_in_no_group_unlike_in_the_published_code():
    case = YACS["internimage_t_sgd_freeze_0_1"]
    handed_over = {row["name"] for row in case["params"]} & set(case["frozen"])
    assert handed_over == set(case["frozen"])
    for quirks in (True, False):
        model = module_of(golden_inventory(case["model"]))
        optimizer = build_optimizer(with_keys(case["config"], REFERENCE_QUIRKS=quirks), model)
        assert not handed_over & {name for group in optimizer.param_groups for name in group["param_names"]}


def test_an_unknown_optimizer_is_an_error_with_the_key_and_closest_name():
    case = YACS["unknown_optimizer"]
    assert case["raises"] == "NotImplementedError"
    with pytest.raises(UnknownNameError, match=r"^TRAIN\.OPTIMIZER\.NAME: unknown optimizer 'adamwx'.*'adamw'"):
        make_plan(case["config"], golden_inventory(case["model"]))
    with pytest.raises(UnknownNameError, match="adamwx"):
        make_plan(with_keys(case["config"], USE_ZERO=True), golden_inventory(case["model"]))


LEVELS = Inventory(tuple(ParamInfo(f"levels.{i}.fc.weight", (2, 2)) for i in (0, 1, 10, 11)))


def test_level_1_does_not_freeze_level_10_but_did_as_published():
    config = {"TRAIN": {"OPTIMIZER": {"FREEZE_BACKBONE": [1]}}}
    plan = make_plan(config, LEVELS)
    assert plan.frozen == ("levels.1.fc.weight",)
    assert any("frozen of 2 parameters: False → True" in warning for warning in plan.warnings)
    published = make_plan(with_keys(config, REFERENCE_QUIRKS=True), LEVELS)
    assert published.frozen == ("levels.1.fc.weight", "levels.10.fc.weight", "levels.11.fc.weight")
    assert any(warning.startswith("without REFERENCE_QUIRKS it would differ") for warning in published.warnings)


def test_scalars_and_norms_of_many_dimensions_decay_only_as_published():
    params = (
        ParamInfo("logit_scale", ()),
        ParamInfo("norm.weight", (2, 1, 1), owner="LayerNorm2d", kinds=frozenset({"norm"})),
        ParamInfo("fc.weight", (2, 2)),
    )
    config = {"TRAIN": {"WEIGHT_DECAY": 0.05}}
    corrected, published = (
        make_plan(with_keys(config, REFERENCE_QUIRKS=quirks), Inventory(params)) for quirks in (False, True)
    )
    assert [decision.weight_decay for decision in corrected] == [0.0, 0.0, 0.05]
    assert [decision.weight_decay for decision in published] == [0.05, 0.05, 0.05]


def test_a_rule_that_matches_an_alias_applies_but_did_not_as_published():
    params = (ParamInfo("embed.weight", (4, 2), aliases=("levels.0.head.offset",)), ParamInfo("fc.weight", (2, 2)))
    hooks = Hints({"no_weight_decay": ["levels.0.head.offset"]})
    config = {"TRAIN": {"BASE_LR": 1.0, "WEIGHT_DECAY": 0.05, "OPTIMIZER": {"DCN_LR_MUL": 0.5}}}
    corrected, published = (
        make_plan(with_keys(config, REFERENCE_QUIRKS=quirks), Inventory(params, hooks)) for quirks in (False, True)
    )
    assert settings_of(corrected)["embed.weight"] == (0.5, 0.0)
    assert settings_of(published)["embed.weight"] == (1.0, 0.05)


def test_layer_decay_works_without_the_hook_that_the_published_code_needs():
    config = {"TRAIN": {"BASE_LR": 1.0, "LR_LAYER_DECAY": True, "LR_LAYER_DECAY_RATIO": 0.5}}
    model = Inventory(tuple(ParamInfo(f"blocks.{i}.weight", (2, 2)) for i in range(3)))
    plan = make_plan(config, model)
    assert [decision.lr for decision in plan] == [0.25, 0.5, 1.0]
    assert any("would fail" in warning and "lr_decay_keywords" in warning for warning in plan.warnings)
    with pytest.raises(OptimBuildError, match="needs lr_decay_keywords"):
        make_plan(with_keys(config, REFERENCE_QUIRKS=True), model)


# --- the published semantics, stated again --------------------------------------------------

SEGMENTS = ("levels.0", "levels.1", "levels.10", "blocks.3", "dcn.offset", "dcn", "norm", "pos_embed", "head", "gamma")
LEAVES = ("weight", "bias", "attention_weights", "center_feature_scale_proj", "alpha_beta", "rel.bias_table")
PIECES = (*SEGMENTS, *LEAVES, "levels", "o", ".", "a")
NUMBERS = st.floats(0, 10, allow_nan=False)


@st.composite
def models(draw: Any) -> tuple[list[ParamInfo], dict[str, Any], float]:
    names = draw(st.lists(st.tuples(st.lists(st.sampled_from(SEGMENTS), max_size=3), st.sampled_from(LEAVES)),
                          min_size=1, max_size=12, unique_by=lambda pair: ".".join([*pair[0], pair[1]])))  # fmt: skip
    params = [
        ParamInfo(
            ".".join([*path, leaf]),
            draw(st.sampled_from([(), (3,), (3, 1), (2, 2, 2)])),
            trainable=draw(st.integers(0, 5)) > 0,
        )
        for path, leaf in names
    ]
    ratio = draw(st.sampled_from([0.5, 0.875, 1.0]))
    factors = draw(st.dictionaries(st.sampled_from(PIECES), NUMBERS, max_size=5))
    hooks: dict[str, Any] = {"lr_decay_keywords": {repr(ratio): factors}}
    if draw(st.booleans()):
        hooks["no_weight_decay"] = draw(st.lists(st.sampled_from([param.name for param in params])))
    if draw(st.booleans()):
        hooks["no_weight_decay_keywords"] = draw(st.lists(st.sampled_from(PIECES), max_size=2))
    return params, hooks, ratio


def published_settings(
    params: list[ParamInfo], hooks: dict[str, Any], train: dict[str, Any]
) -> dict[str, tuple[float, float] | None]:
    """State once more, literally, what the published function does; None stands for a frozen parameter."""
    node = train["OPTIMIZER"]
    result: dict[str, tuple[float, float] | None] = {}
    for param in params:
        if not param.trainable:
            result[param.name] = None
            continue
        exempt = len(param.shape) == 1
        exempt |= param.name.endswith(".bias")
        exempt |= param.name in hooks.get("no_weight_decay", ())
        for keyword in hooks.get("no_weight_decay_keywords", ()):
            exempt |= keyword in param.name
        lr = train["BASE_LR"]
        if train["LR_LAYER_DECAY"]:
            for keyword, factor in hooks["lr_decay_keywords"][repr(train["LR_LAYER_DECAY_RATIO"])].items():
                if keyword in param.name:
                    lr = factor * train["BASE_LR"]
                    break
            if node["DCN_LR_MUL"] is not None:
                steering = ("offset", "attention_weights", "center_feature_scale_proj", "alpha_beta")
                if any(piece in param.name for piece in steering):
                    lr = node["DCN_LR_MUL"] * lr
        result[param.name] = (lr, 0.0 if exempt else train["WEIGHT_DECAY"])
        for level in node["FREEZE_BACKBONE"] or ():
            if f"levels.{level}" in param.name:
                result[param.name] = None
    return result


@settings(max_examples=examples(250), deadline=None)
@given(
    models(),
    st.fixed_dictionaries({"BASE_LR": NUMBERS, "WEIGHT_DECAY": NUMBERS, "LR_LAYER_DECAY": st.booleans()}),
    st.fixed_dictionaries(
        {
            "NAME": st.sampled_from(["adamw", "AdamW", "sgd", "sgd_linear_probing"]),
            "DCN_LR_MUL": st.none() | st.floats(1e-3, 10),
            "FREEZE_BACKBONE": st.none() | st.lists(st.integers(0, 2), max_size=2),
        }
    ),
)
def test_with_quirks_a_plan_is_what_the_published_semantics_say(drawn, keys, node):
    params, hooks, ratio = drawn
    train = {**keys, "LR_LAYER_DECAY_RATIO": ratio, "OPTIMIZER": node}
    expected = published_settings(params, hooks, train)
    config = with_keys({"TRAIN": train}, REFERENCE_QUIRKS=True)
    model = Inventory(tuple(params), Hints(hooks))
    if not any(expected.values()):
        with pytest.raises(OptimBuildError, match="every parameter is frozen"):
            make_plan(config, model)
        return
    plan = make_plan(config, model)
    assert {d.name: None if d.frozen else (d.lr, d.weight_decay) for d in plan} == expected


def test_the_module_of_an_inventory_is_surveyed_as_that_inventory():
    golden = golden_inventory("internimage_h")
    assert inventory(module_of(golden)).params == golden.params
