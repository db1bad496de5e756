"""Depth tables of published projects, as data: the layer of a parameter by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Sizes(NamedTuple):
    """What a row computes a layer from.

    Args:
        numbers: The numbers that the row's pattern captures, such as those of a stage and a block.
        depths: The number of blocks in each stage.
        num_layers: The number of layers below the top one, the first of them 0 not counted.
    """

    numbers: tuple[int, ...]
    depths: tuple[int, ...]
    num_layers: int

    def before(self, stage: int) -> int:
        """Return the number of blocks in the stages before one.

        Raises:
            IndexError: There are fewer stages.
        """
        if stage > len(self.depths):
            raise IndexError(stage)
        return sum(self.depths[:stage])


class Row(NamedTuple):
    """One row of a table: the names that it is about, and their layer.

    Args:
        pattern: A regular expression that is searched in a name; ``@`` is the backbone's place, such as ``backbone.``.
        layer: Returns the layer, counted from the input.
        only_with: The row counts in a model that has a name with this beginning.
    """

    pattern: str
    layer: Callable[[Sizes], int]
    only_with: str = ""


class Table(NamedTuple):
    """The depth table of a family of backbones; what no row is about is in the layer at the top.

    Args:
        rows: The rows; the first that is about a name counts.
        needs: The option that gives its sizes: ``depths`` or ``num_layers``.
        cut: Pieces that are taken out of a name first.
        spelt: Pieces of a name that are read as another.
        numbered: Beginnings of names below the backbone in which the published code reads numbers: it fails at a name
            that begins so and that no row is about.
    """

    rows: tuple[Row, ...]
    needs: str = "num_layers"
    cut: tuple[str, ...] = ()
    spelt: Mapping[str, str] = {}
    numbered: tuple[str, ...] = ()


def _input(_: Sizes) -> int:
    return 0


def _block(sizes: Sizes) -> int:
    """Return the layer of a block that is numbered through the whole backbone."""
    return sizes.numbers[0] + 1


def _block_of_stage(sizes: Sizes) -> int:
    stage, block = sizes.numbers
    return sizes.before(stage) + block + 1


def _block_of_level(sizes: Sizes) -> int:
    """Return the layer of a block as InternImage counts: levels after the fourth are counted as the fourth."""
    level, block = sizes.numbers
    return sizes.before(min(level, 3)) + block + 1


def _end_of_level(sizes: Sizes) -> int:
    """Return the layer of a norm or downsampling as InternImage counts: that of the next level's first block.

    For the last level it is that of its own first block.
    """
    return sizes.before(min(sizes.numbers[0], 2) + 1) + 1


def _end_of_stage(sizes: Sizes) -> int:
    return sizes.before(sizes.numbers[0] + 1)


def _downsampling(sizes: Sizes) -> int:
    return (0, 2, 3, sizes.num_layers)[sizes.numbers[0]]


def _three_blocks(sizes: Sizes) -> int:
    """Return the layer of a block in the long stage of ConvNeXt, where three blocks make a layer."""
    return 3 + sizes.numbers[0] // 3


def _stage(sizes: Sizes) -> int:
    return sizes.numbers[0] + 1


def _last(sizes: Sizes) -> int:
    return sizes.num_layers


_TOKENS = (Row(r"^@(?:cls_token|mask_token|pos_embed)$", _input), Row(r"^@patch_embed", _input))

_VIT = Table((*_TOKENS, Row(r"^@layers[^.]*\.(\d+)(?![^.])", _block)), numbered=("layers",))

TABLES: Mapping[str, Table] = {
    "vit": _VIT,
    "beit": _VIT,
    "mvit": Table((*_TOKENS, Row(r"^@blocks[^.]*\.(\d+)(?![^.])", _block)), numbered=("blocks",)),
    "internvit": Table(
        (*_TOKENS, Row(r"^@visual_embed", _input), Row(r"^@(?:blocks|layers)[^.]*\.(\d+)(?![^.])", _block)),
        cut=("cb_modules.0.", "cb_modules.1."),
        spelt={"levels.": "layers."},
        numbered=("blocks", "layers"),
    ),
    "convnext": Table(
        (
            _TOKENS[0],
            Row(r"^@downsample_layers[^.]*\.([0-3])(?![^.])", _downsampling),
            Row(r"^@stages[^.]*\.([01])\.\d+(?![^.])", _stage),
            Row(r"^@stages[^.]*\.2\.(\d+)(?![^.])", _three_blocks),
            Row(r"^@stages[^.]*\.3\.\d+(?![^.])", _last),
        ),
        numbered=("downsample_layers", "stages"),
    ),
    "convnext_stages": Table(
        (_TOKENS[0], Row(r"^@downsample_layers", _input), Row(r"^@stages[^.]*\.(\d+)(?![^.])", _stage)),
        numbered=("stages",),
    ),
    "internimage": Table(
        (
            Row(r"^@patch_embed", _input),
            Row(r"^decode_head\.(?:mask_embed|cls_embed|level_embed|query_embed|query_feat)", _input),
            Row(r"^@cb_modules\.0\.patch_embed", _input, only_with="decode_head."),
            Row(r"level_embeds", _input),
            Row(r"^@(?:levels|layers)[^.]*\.(\d+)\.(?:norm|downsample)(?![^.])", _end_of_level),
            Row(r"^@(?:levels|layers)[^.]*\.(\d+)\.[^.]+\.(\d+)(?![^.])", _block_of_level),
        ),
        needs="depths",
        numbered=("levels", "layers"),
    ),
    "swin": Table(
        (
            Row(r"^@(?:patch_embed|absolute_pos_embed)", _input),
            Row(r"^@(?:stages|layers)\.(\d+)\.blocks\.(\d+)", _block_of_stage),
            Row(r"^@(?:stages|layers)\.(\d+)\.downsample", _end_of_stage),
        ),
        needs="depths",
    ),
}
"""By name the tables of ViT (MMPose), BEiT and MAE (MMSegmentation), MViT and VideoMAE (MMAction2), InternViT, ConvNeXt
by layers and by stages (MMDetection, MMSegmentation), InternImage, and Swin Transformer."""
