"""Models with InternImage's levels: where other depths differ from those that its own projects use."""

from __future__ import annotations

import re
from collections.abc import Sequence

from optimbuild.model.depths.depths import Depths
from optimbuild.model.depths.from_tables import from_table
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

TABLE = "internimage"
PLACES = ("backbone", "img_backbone", "")
"""Modules in which the backbone may be, the first that the model has."""
_BLOCK = re.compile(r"(?:^|\.)levels\.(\d+)\.blocks\.(\d+)\.")


def blocks_of_levels(model: Inventory) -> tuple[int, ...]:
    """Return the number of blocks in each of InternImage's levels; nothing for another model.

    >>> names = ["patch_embed.conv1.weight", "levels.0.blocks.0.dcn.weight", "levels.0.blocks.1.dcn.weight"]
    >>> blocks_of_levels(Inventory([ParamInfo(name, (4, 4)) for name in names]))
    (2,)
    """
    blocks: dict[int, int] = {}
    for name in model.names:
        for level, block in _BLOCK.findall(name):
            blocks[int(level)] = max(blocks.get(int(level), 0), int(block) + 1)
    is_whole = sorted(blocks) == list(range(len(blocks)))
    if not is_whole or not any("patch_embed." in name for name in model.names):
        return ()
    return tuple([blocks[level] for level in sorted(blocks)])


def placed_otherwise(model: Inventory, depths: Depths, blocks: Sequence[int]) -> list[ParamInfo]:
    """Return the trainable parameters whose distance from the top is another one in InternImage's own projects.

    Args:
        model: The model.
        depths: The depths to compare; what has no layer is at the top.
        blocks: The number of blocks in each level.
    """
    own = from_table(model, TABLE, blocks, None, PLACES)

    def distance(found: Depths, name: str) -> int:
        return found.layers - 1 - found.layer_of.get(name, found.layers - 1)

    return [p for p in model.trainable if distance(own, p.name) != distance(depths, p.name)]
