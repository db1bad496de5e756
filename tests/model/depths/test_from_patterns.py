"""Depths as given by hand."""

from __future__ import annotations

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo
from optimbuild.model.depths.from_patterns import from_patterns


def inventory_of(*names: str) -> Inventory:
    return Inventory(tuple(ParamInfo(name, (2, 2)) for name in names))


BLOCKS = ("stages.0.blocks.0.w", "stages.0.blocks.1.w", "stages.0.down.w", "stages.1.blocks.0.w")
NET = inventory_of("cls_token", "embed.proj.weight", *BLOCKS, "norm.w", "head.w")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["**"], [0, 0, 0, 0, 0, 0, 0, 0]),
        (["embed", "stages", "head"], [None, 0, 1, 1, 1, 1, None, 2]),
        ([["cls_token", "embed"], "stages.{n}", ["norm", "head"]], [0, 0, 1, 1, 1, 2, 3, 3]),
        (
            [["cls_token", "embed"], "stages.{n}.blocks.{n}", "stages.{n}.down", ["norm", "head"]],
            [0, 0, 1, 2, 4, 3, 5, 5],
        ),
        ([["stages.{n}.blocks.{n}", "stages.{n}.down"]], [None, None, 1, 2, 0, 3, None, None]),
        (["stages.0.blocks.1", "stages.{n}.blocks.{n}"], [None, None, 1, 0, None, 2, None, None]),
        (["head", "norm", "stages", "embed"], [None, 3, 2, 2, 2, 2, 1, 0]),
        ([r"re:^stages\.(\d+)", "head"], [None, None, 0, 0, 0, 1, None, 2]),
        ([r"re:^(?:embed|cls)", "re:head"], [0, 0, None, None, None, None, None, 1]),
        (["stages.{n}.blocks", "head"], [None, None, 0, 0, None, 1, None, 2]),
    ],
)
def test_layers_by_hand_go_from_input_to_output_and_the_first_match_counts(layers, expected):
    depths = from_patterns(NET, layers)
    assert [depths.layer_of.get(param.name) for param in NET] == expected
    assert depths.layers == max(layer for layer in expected if layer is not None) + 1


@pytest.mark.parametrize(
    "entry", [["stages.{n}", "norm"], ["norm", "stages.{n}"], ["{stages.{n},norm}"], ["head", r"re:^stages\.(\d+)"]]
)
def test_patterns_with_numbers_and_without_share_no_entry(entry):
    with pytest.raises(ConfigError, match=r"^layers\[1\]: '.*' is one layer per number, and '.*' is one layer,"):
        from_patterns(NET, ["embed", entry])


def test_what_each_pattern_matches_is_reported_with_its_place():
    depths = from_patterns(NET, ["embed", ["norm", "nowhere.{n}"]])
    assert [(where, text, [param.name for param in found]) for where, text, found in depths.patterns] == [
        ("layers[0]", "embed", ["embed.proj.weight"]),
        ("layers[1][0]", "norm", ["norm.w"]),
        ("layers[1][1]", "nowhere.{n}", []),
    ]


def test_an_alias_claims_a_layer_too():
    model = Inventory((ParamInfo("a.w", (1,), aliases=("blocks.3.w",)), ParamInfo("blocks.0.w", (1,))))
    assert from_patterns(model, ["blocks.{n}"]).layer_of == {"blocks.0.w": 0, "a.w": 1}
