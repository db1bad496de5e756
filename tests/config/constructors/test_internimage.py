"""InternImage's and InternVL's constructor, against its published semantics, stated again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, make_plan
from tests.properties import examples

NAME = "CustomLayerDecayOptimizerConstructor"
KEYS = {"num_layers": 6, "layer_decay_rate": 0.9, "depths": [1, 1, 3, 1]}
LR, DECAY = 3e-4, 0.05


def config(**paramwise: Any) -> dict[str, Any]:
    optimizer = {"type": "AdamW", "lr": LR, "weight_decay": DECAY}
    return {"optimizer": {**optimizer, "constructor": NAME, "paramwise_cfg": paramwise}}


def plan(params: list[ParamInfo], **paramwise: Any) -> Plan:
    return make_plan(config(**paramwise), Inventory(params))


STEMS = ("backbone.patch_embed.conv1", "backbone.levels.0.blocks.0.attn", "backbone.levels.2.blocks.2.norm1",
         "backbone.layers.1.blocks.0.relative_position", "backbone.levels.1.norm.0", "backbone.levels.3.norm.0",
         "backbone.levels.2.post_norms.1.0", "backbone.levels.3.downsample.norm", "backbone.dcn.offset",
         "backbone.levels.5.blocks.0.sampling_offsets", "backbone.cb_modules.0.levels.0.blocks.0", "neck.fc",
         "bbox_head.sampling_offsets", "bbox_head.reference_points", "bbox_head.level_embeds")  # fmt: skip


def published(param: ParamInfo, keys: dict[str, Any]) -> tuple[float, float]:
    """State once more what the published code for detection gives to a parameter."""
    name, depths, top = param.name, keys["depths"], keys["num_layers"] + 1
    parts = name.split(".")
    layer = top
    if name.startswith("backbone.patch_embed") or "level_embeds" in name:
        layer = 0
    elif name.startswith(("backbone.levels.", "backbone.layers.")):
        level = int(parts[2])
        if parts[3] in ("norm", "downsample"):
            layer = 1 + sum(depths[: min(level, 2) + 1])
        else:
            layer = int(parts[4]) + 1 + sum(depths[: min(level, 3)])
    factor = keys["layer_decay_rate"] ** (top - layer)
    samples = "sampling_offsets" in name or "reference_points" in name
    if keys.get("backbone_small_lr") and factor < 1:
        factor = factor * 0.1
    if samples and keys.get("dino_head") and layer == top:
        factor = factor * 0.1
    elif samples:
        factor = factor * keys.get("offset_lr_scale", 1.0)
    spared = len(param.shape) == 1 or name.endswith(".bias")
    spared |= any(piece in name for piece in ("relative_position", "norm", "sampling_offsets"))
    return factor * LR, 0.0 if spared else DECAY


PARAMS = st.lists(
    st.builds(
        lambda stem, leaf, shape, frozen: ParamInfo(f"{stem}.{leaf}", shape, trainable=not frozen),
        st.sampled_from(STEMS),
        st.sampled_from(("weight", "bias", "gamma")),
        st.sampled_from([(), (3,), (2, 2), (1, 1, 4)]),
        st.sampled_from((False, False, False, True)),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda param: param.name,
).filter(lambda params: any(param.trainable for param in params))
OPTIONS = st.fixed_dictionaries(
    {"num_layers": st.sampled_from([3, 6, 8]), "layer_decay_rate": st.sampled_from([0.9, 0.5, 1.0])},
    optional={
        "offset_lr_scale": st.sampled_from([0.01, 1.0, 2.0]),
        "dino_head": st.booleans(),
        "backbone_small_lr": st.booleans(),
    },
)


@settings(max_examples=examples(300), deadline=None)
@given(PARAMS, OPTIONS)
def test_a_plan_is_what_the_published_semantics_say(params: list[ParamInfo], options: dict[str, Any]) -> None:
    keys = {**KEYS, **options}
    found = {decision.name: (decision.lr, decision.weight_decay) for decision in plan(params, **keys)}
    assert found == {param.name: published(param, keys) if param.trainable else (None, None) for param in params}


def test_in_a_segmenter_offsets_are_scaled_in_the_backbone_only() -> None:
    names = ("decode_head.sampling_offsets.weight", "backbone.sampling_offsets.weight")
    made = plan([ParamInfo(name, (2, 2)) for name in names], **KEYS, offset_lr_scale=0.1)
    assert [decision.lr for decision in made] == [LR, 0.1 * LR]


def test_the_backbone_of_the_driving_project_is_found() -> None:
    made = plan([ParamInfo("img_backbone.patch_embed.w", (2, 2)), ParamInfo("head.w", (2, 2))], **KEYS)
    assert [decision.lr for decision in made] == [0.9**7 * LR, LR]


def test_without_depths_it_is_the_constructor_of_internvl() -> None:
    params = [ParamInfo(name, (2, 2)) for name in ("backbone.blocks.0.attn.norm", "backbone.pos_embed", "head.w")]
    made = plan(params, num_layers=2, layer_decay_rate=0.5)
    assert [(d.lr, d.weight_decay) for d in made] == [(0.25 * LR, DECAY), (0.125 * LR, DECAY), (LR, DECAY)]


def test_an_absent_or_empty_paramwise_cfg_is_one_group() -> None:
    params = [ParamInfo("backbone.patch_embed.w", (2, 2)), ParamInfo("head.bias", (2,))]
    for optimizer in (config()["optimizer"], {k: v for k, v in config()["optimizer"].items() if k != "paramwise_cfg"}):
        assert len(make_plan({"optimizer": optimizer}, Inventory(params)).groups) == 1


def test_depths_that_are_not_num_layers_are_told_and_other_keys_too() -> None:
    made = plan([ParamInfo("backbone.patch_embed.w", (2, 2))], **{**KEYS, "num_layers": 9}, custom_keys={})
    assert any("num_layers is 9, and depths are 6 blocks" in warning for warning in made.warnings)
    assert any(f"{NAME} ignores custom_keys" in warning for warning in made.warnings)


@pytest.mark.parametrize("key", ["num_layers", "layer_decay_rate"])
def test_a_missing_key_is_an_error_with_its_path(key: str) -> None:
    with pytest.raises(ConfigError, match="is required") as caught:
        plan([ParamInfo("w", (2, 2))], **{name: value for name, value in KEYS.items() if name != key})
    assert caught.value.path == f"optimizer.paramwise_cfg.{key}"


@pytest.mark.parametrize("option", ["lr", "weight_decay"])
def test_an_option_that_is_multiplied_is_required(option: str) -> None:
    given_config = config(**KEYS)
    del given_config["optimizer"][option]
    with pytest.raises(ConfigError, match=f"is required, because {NAME} computes with it") as caught:
        make_plan(given_config, Inventory([ParamInfo("w", (2, 2))]))
    assert caught.value.path == f"optimizer.{option}"
