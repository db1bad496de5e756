"""The blocks at which parameters are drawn."""

from __future__ import annotations

import pytest

from optimbuild import inventory
from optimbuild.plot.blocks import MOST, blocks_of
from tests.models import Net

LEVELS = [
    ("stem.0.weight", "stem"),
    ("levels.0.blocks.0.fc.weight", "levels.0.blocks.0"),
    ("levels.0.blocks.0.gamma", "levels.0.blocks.0"),
    ("levels.0.blocks.1.fc.weight", "levels.0.blocks.1"),
    ("levels.0.blocks.1.conv.0.weight", "levels.0.blocks.1"),
    ("levels.0.blocks.1.conv.1.norm.weight", "levels.0.blocks.1"),
    ("levels.0.norm.0.weight", "levels.0.norm"),
    ("levels.0.scale", "levels.0.scale"),
    ("levels.1.blocks.0.fc.weight", "levels.1.blocks.0"),
    ("levels.1.blocks.1.fc.weight", "levels.1.blocks.1"),
    ("scale", "scale"),
]
RESNET = [
    ("conv1.weight", "conv1"),
    ("layer1.0.conv1.weight", "layer1.0"),
    ("layer1.0.downsample.0.weight", "layer1.0"),
    ("layer1.1.conv1.weight", "layer1.1"),
]
ENCODER = [
    ("encoder.pos", "encoder.pos"),
    ("encoder.layers.0.fc.weight", "encoder.layers.0"),
    ("encoder.layers.1.fc.weight", "encoder.layers.1"),
    ("encoder.ln.weight", "encoder.ln"),
]


@pytest.mark.parametrize("case", [LEVELS, RESNET, ENCODER], ids=["levels", "resnet", "encoder"])
def test_a_block_is_one_of_several_numbered_modules_that_are_alike(case: list[tuple[str, str]]) -> None:
    assert blocks_of([name for name, _ in case]) == [block for _, block in case]


@pytest.mark.parametrize("experts", [2, MOST])
def test_experts_are_told_apart_only_where_they_are_few(experts: int) -> None:
    names = [f"layers.{i}.experts.{j}.fc.weight" for i in range(2) for j in range(experts)]
    assert len(set(blocks_of(names))) == (4 if experts == 2 else 2)


def test_a_model_of_numbered_layers_alone_has_each_by_itself() -> None:
    assert blocks_of(["0.weight", "0.bias", "2.weight"]) == ["0", "0", "2"]


def test_the_blocks_of_a_real_model_are_in_its_order() -> None:
    blocks = dict.fromkeys(blocks_of(inventory(Net()).names))
    assert list(blocks) == ["pos_embed", "stem", "blocks.0", "blocks.1", "blocks.2", "norm", "head"]
