"""Depth tables of published projects: the layer of every name, and where a table cannot say."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, inventory, make_plan

RATE = 0.5


def plan(names: list[str], *, backbone: str = "", aliases: tuple[str, ...] = (), **options: Any) -> Plan:
    params = [ParamInfo(name, (2, 2), aliases=aliases if i == 0 else ()) for i, name in enumerate(names)]
    rule = {"type": "layer_decay", "ratio": RATE, **options}
    return make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [rule]}, Inventory(params, backbone=backbone))


def distances(table: str, names: dict[str, int], **options: Any) -> None:
    """Assert the distance from the top of each name."""
    found = plan(list(names), layers=table, **options)
    assert {decision.name: decision.lr for decision in found} == {name: RATE**far for name, far in names.items()}


def test_a_vit_has_tokens_and_patches_at_the_input() -> None:
    names = {"backbone.pos_embed": 4, "backbone.patch_embed.projection.weight": 4, "backbone.layers.0.ln1.weight": 3}
    names |= {"backbone.layers.2.ln1.weight": 1, "backbone.ln1.weight": 0, "backbone.pos_embed.weight": 0, "head.w": 0}
    for table in ("vit", "beit"):
        distances(table, names, num_layers=3)
    distances("mvit", {"backbone.blocks.1.w": 2, "backbone.layers.1.w": 0, "backbone.cls_token": 4}, num_layers=3)


def test_internvit_has_its_names_cut_and_spelt_as_published() -> None:
    names = {"backbone.cb_modules.1.levels.0.w": 3, "backbone.visual_embed.w": 4, "backbone.blocks.2.w": 1}
    distances("internvit", {**names, "backbone.up1.0.weight": 0}, num_layers=3)


def test_convnext_has_three_blocks_of_its_long_stage_in_a_layer() -> None:
    blocks = {f"backbone.stages.2.{i}.w": 7 - (3 + i // 3) for i in range(9)}
    others = {"backbone.stages.0.1.w": 6, "backbone.stages.1.0.w": 5, "backbone.stages.3.2.w": 1, "backbone.norm3.w": 0}
    down = {f"backbone.downsample_layers.{i}.0.w": far for i, far in enumerate((7, 5, 4, 1))}
    distances("convnext", {**blocks, **others, **down, "backbone.cls_token": 7}, num_layers=6)


def test_stages_of_convnext_leave_a_gap_below_the_head() -> None:
    names = {"backbone.downsample_layers.3.0.w": 7, "backbone.stages.0.0.w": 6, "backbone.stages.3.0.w": 3}
    distances("convnext_stages", {**names, "decode_head.w": 0}, num_layers=6)


def test_internimage_counts_through_its_levels() -> None:
    names = {"backbone.patch_embed.conv1.w": 7, "backbone.levels.0.blocks.0.w": 6, "backbone.levels.1.blocks.0.w": 5}
    names |= {"backbone.levels.2.blocks.1.w": 3, "backbone.levels.3.blocks.1.w": 1, "backbone.levels.2.norm.0.w": 2}
    names |= {"backbone.levels.3.norm.0.w": 2, "backbone.levels.0.downsample.conv.w": 5, "bbox_head.level_embeds": 7}
    names |= {"backbone.levels.2.post_norms.0.1.w": 4, "backbone.cb_modules.0.patch_embed.w": 0, "backbone.norm.w": 0}
    distances("internimage", names, depths=[1, 1, 2, 2])


def test_a_segmenter_has_more_names_at_the_input() -> None:
    names = {"decode_head.query_feat.weight": 7, "backbone.cb_modules.0.patch_embed.w": 7, "decode_head.fc.w": 0}
    distances("internimage", {**names, "backbone.levels.0.blocks.0.w": 6}, depths=[1, 1, 2, 2])


def test_swin_has_a_downsampling_with_the_stage_before_it() -> None:
    names = {"backbone.patch_embed.w": 6, "backbone.stages.1.blocks.0.w": 3, "backbone.stages.0.downsample.w": 4}
    distances("swin", {**names, "backbone.stages.2.blocks.0.w": 1, "backbone.norm3.w": 0}, depths=[2, 2, 1])


@pytest.mark.parametrize("place", ["backbone.", "img_backbone.", ""])
def test_a_backbone_is_found_where_it_is(place: str) -> None:
    names = {f"{place}patch_embed.w": 5, f"{place}levels.1.blocks.0.w": 3, "head.w": 0}
    distances("internimage", names, depths=[1, 1, 1, 1])


STUMBLING = [
    ("vit", "backbone.layers.gamma"),
    ("vit", "backbone.layers_norm.w"),
    ("vit", "backbone.layers.0a.w"),
    ("mvit", "backbone.blocks"),
    ("internvit", "backbone.levels.norm.w"),
    ("convnext", "backbone.stages.0.gamma"),
    ("convnext", "backbone.stages.4.0.w"),
    ("convnext", "backbone.downsample_layers.4.0.w"),
    ("convnext_stages", "backbone.stages.norm.w"),
    ("internimage", "backbone.levels.2.gamma"),
    ("internimage", "backbone.levels_norm.w"),
    ("internimage", "backbone.layers.0.blocks.last.w"),
]


@pytest.mark.parametrize(("table", "name"), STUMBLING)
def test_a_name_at_which_the_published_code_fails_is_refused(table: str, name: str) -> None:
    known = {"mvit": "blocks.0", "vit": "layers.0", "internvit": "layers.0", "internimage": "levels.0.blocks.0"}
    sizes = {"depths": [1, 1, 1, 1]} if table == "internimage" else {"num_layers": 6}
    names = [f"backbone.{known.get(table, 'stages.0.0')}.w", name]
    with pytest.raises(ConfigError, match=f"fails at those that have none where it looks: {name}") as caught:
        plan(names, layers=table, **sizes)
    assert caught.value.path == "rules[0].layers"
    rule = {"type": "layer_decay", "ratio": RATE, "layers": table, **sizes}
    params = [ParamInfo(names[0], (2, 2)), ParamInfo(name, (2, 2), trainable=False)]
    assert make_plan({"optimizer": {"type": "adamw"}, "rules": [rule]}, Inventory(params)).frozen == (name,)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("vit", "backbone.layers_norm.1.w"),
        ("mvit", "backbone.blocks2.1.w"),
        ("internvit", "backbone.layers_norm.1.w"),
        ("convnext", "backbone.stages_norm.1.0.w"),
        ("convnext_stages", "backbone.stages_norm.1.w"),
        ("internimage", "backbone.levels_norm.1.x.0.w"),
    ],
)
def test_the_beginning_of_a_name_is_enough_as_in_the_published_code(table: str, name: str) -> None:
    sizes = {"depths": [1, 1, 1, 1]} if table == "internimage" else {"num_layers": 4}
    distances(table, {name: 3}, **sizes)


def test_every_downsampling_of_convnexts_stages_is_at_the_input() -> None:
    names = {"backbone.stages.0.0.w": 6, "backbone.downsample_layers_norm.w": 7}
    distances("convnext_stages", names, num_layers=6)


@pytest.mark.parametrize("name", ["backbone.levels.2.blocks.0.w", "backbone.levels.1.downsample.w"])
def test_depths_must_have_the_levels_of_the_model(name: str) -> None:
    with pytest.raises(ConfigError, match=f"has 1 numbers, and the layer of '{name}' needs the first 2") as caught:
        plan([name], layers="internimage", depths=[1])
    assert caught.value.path == "rules[0].depths"


def test_blocks_beyond_the_number_of_layers_are_above_the_top() -> None:
    made = plan(["backbone.layers.4.w"], layers="vit", num_layers=2)
    assert made["backbone.layers.4.w"].lr == RATE**-2
    assert made.explain("backbone.layers.4.w")[0].why == "layer 5 of 4, 2 above the top"


def test_only_the_first_name_of_a_shared_tensor_counts() -> None:
    made = plan(["head.w", "backbone.layers.0.w"], aliases=("backbone.layers.1.w",), layers="vit", num_layers=2)
    assert made["head.w"].lr == 1.0


def test_the_class_of_the_backbone_chooses_the_table() -> None:
    tables = {"ConvNeXt": "convnext", "BEiT": "beit"}
    made = plan(["backbone.layers.1.w"], backbone="MyBEiTAdapter", layers=tables, num_layers=2)
    assert made["backbone.layers.1.w"].lr == RATE
    with pytest.raises(ConfigError, match="no table for the backbone ResNet, only for ConvNeXt, BEiT"):
        plan(["backbone.layers.1.w"], backbone="ResNet", layers=tables, num_layers=2)
    with pytest.raises(ConfigError, match="and there is none in the model"):
        plan(["backbone.layers.1.w"], layers=tables, num_layers=2)


def test_a_table_that_knows_nothing_of_the_backbone_is_never_silent() -> None:
    with pytest.raises(ConfigError, match="the table 'vit' matches no parameter"):
        plan(["backbone.blocks.0.w"], layers="vit", num_layers=2)
    made = plan(["backbone.blocks.0.w"], layers="vit", num_layers=2, optional=True)
    assert any("all of it keeps the full LR" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("options", "where", "message"),
    [
        ({"layers": "internimage"}, "depths", "is required by the table 'internimage'"),
        ({"layers": "vit"}, "num_layers", "is required by the table 'vit'"),
        ({"layers": "intern_image"}, "layers", "Did you mean 'internimage'"),
        ({"layers": {"ConvNeXt": "convnxt"}}, "layers.ConvNeXt", "Did you mean 'convnext'"),
        ({"depths": [1, 1]}, "", "depths needs a table"),
        ({"depths": []}, "depths", "at least 1 item"),
        ({"layers": "vit", "num_layers": 2, "depths": []}, "depths", "at least 1 item"),
        ({"num_layers": 0}, "", "num_layers needs a table"),
        ({"layers": ["x"], "below": ["encoder"]}, "", "below needs a table"),
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan(["x"], **options)
    assert caught.value.path == f"rules[0].{where}".rstrip(".")


def test_further_factors_multiply_that_of_the_layer_first() -> None:
    names = ["backbone.layers.0.offsets", "backbone.layers.0.w", "head.offsets", "head.w"]
    factors = [{"factor": 0.1, "only": "below_top"}, {"factor": 0.3, "pattern": "re:offsets", "unless": "at_top"}]
    made = plan(names, layers="vit", num_layers=1, factors=factors)
    assert [decision.lr for decision in made] == [RATE * 0.1 * 0.3, RATE * 0.1, 1.0, 1.0]
    assert made.explain(names[0])[0].why == "layer 1 of 3, 1 from the top, x 0.1, x 0.3 (name matches 're:offsets')"


def test_an_inventory_knows_the_class_of_the_backbone() -> None:
    model = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(2, 2)), "head": nn.Linear(2, 2)})
    found = inventory(model)
    assert found.backbone == "Sequential"
    assert Inventory.from_dict(found.to_dict()).backbone == "Sequential"
    assert inventory(nn.Linear(2, 2)).backbone == ""
