"""Depths from the table of a published project, by the first name of each parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model.depths.depths import Depths
from optimbuild.model.depths.tables import TABLES, Row, Sizes, Table
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo


def from_table(
    model: Inventory, name: str, depths: Sequence[int] | None, num_layers: int | None, below: Sequence[str]
) -> Depths:
    """Return the depths that a table gives. Every parameter has a layer: what no row is about is at the top.

    Args:
        model: The model.
        name: The table's name.
        depths: The number of blocks in each stage, for tables that need it.
        num_layers: The number of layers below the top; by default the sum of ``depths``. It is believed: a block beyond
            it is above the top, and so has a factor above 1.
        below: Modules in which the backbone may be, the first that the model has; an empty text is the model itself.

    Raises:
        ConfigError: The table needs ``depths`` or ``num_layers``, and it is not given, or has too few numbers.
    """
    table = TABLES[name]
    if table.needs == "depths" and not depths:
        raise ConfigError(f"is required by the table {name!r}: the number of blocks in each stage", "depths")
    if num_layers is None and not depths:
        raise ConfigError(f"is required by the table {name!r}: the number of layers below the top", "num_layers")
    known = tuple(depths or ())
    sizes = Sizes((), known, sum(known) if num_layers is None else num_layers)
    place = place_of_backbone(model, below)
    rows = [row for row in table.rows if any(param.startswith(row.only_with) for param in model.names)]
    patterns = [(re.compile(row.pattern.replace("@", re.escape(place))), row) for row in rows]
    layer_of: dict[str, int] = {}
    placed = []
    for param in model:
        read = as_read(param.name, table)
        found = next(((match, row) for pattern, row in patterns if (match := pattern.search(read))), None)
        layer_of[param.name] = sizes.num_layers + 1
        if found is not None:
            match, row = found
            numbers = sizes._replace(numbers=tuple(map(int, match.groups())))
            layer_of[param.name] = _layer(row, numbers, param, sizes.num_layers + 1)
        if found is not None and param.name.startswith(place):
            placed.append(param)
    asked = [("layers", f"the table {name!r}", placed)]
    return Depths(layer_of, sizes.num_layers + 2, f"the table {name!r}", asked)


def _layer(row: Row, sizes: Sizes, param: ParamInfo, top: int) -> int:
    """Return the layer that a row gives; a frozen parameter of a stage that ``depths`` does not have is at the top."""
    try:
        return row.layer(sizes)
    except IndexError as error:
        if not param.trainable:
            return top
        told = f"has {len(sizes.depths)} numbers, and the layer of {param.name!r} needs the first {error}"
        raise ConfigError(told, "depths") from None


def refuse_unread(model: Inventory, name: str, below: Sequence[str]) -> None:
    """Raise a ConfigError for trainable parameters in whose names the published code finds no numbers, and so fails.

    Args:
        model: The model.
        name: The table's name.
        below: Modules in which the backbone may be.
    """
    table, place = TABLES[name], place_of_backbone(model, below)
    beginnings = tuple([f"{place}{beginning}" for beginning in table.numbered])
    patterns = [re.compile(row.pattern.replace("@", re.escape(place))) for row in table.rows]
    reads = [(param.name, as_read(param.name, table)) for param in model.trainable] if beginnings else []
    if stumbling := [
        name for name, read in reads if read.startswith(beginnings) and not any(row.search(read) for row in patterns)
    ]:
        raise ConfigError(
            f"the published code reads the layer from numbers in a name, and fails at those that have none where it "
            f"looks: {listing(stumbling, 5)}. Frozen parameters are passed over",
            "layers",
        )


def as_read(name: str, table: Table) -> str:
    """Return a name as a table reads it.

    >>> as_read("backbone.cb_modules.0.levels.2.attn.weight", TABLES["internvit"])
    'backbone.layers.2.attn.weight'
    """
    for piece in table.cut:
        name = name.replace(piece, "")
    for piece, spelling in table.spelt.items():
        name = name.replace(piece, spelling)
    return name


def place_of_backbone(model: Inventory, below: Sequence[str]) -> str:
    """Return what the names of the backbone begin with: of the modules given, the first that the model has.

    >>> from optimbuild import ParamInfo
    >>> model = Inventory((ParamInfo("img_backbone.patch_embed.weight", (4, 4)),))
    >>> place_of_backbone(model, ("backbone", "img_backbone", ""))
    'img_backbone.'
    """
    places = [f"{module}." if module else "" for module in below]
    return next((place for place in places if any(name.startswith(place) for name in model.names)), places[0])


def table_for(model: Inventory, tables: Mapping[str, str]) -> str:
    """Return the table for the class of a model's backbone.

    Args:
        model: The model.
        tables: By a piece of the class's name the table.

    Raises:
        ConfigError: The model has no ``backbone``, or one of another class.
    """
    if not model.backbone:
        raise ConfigError(
            "the table is chosen by the class of the model's `backbone`, and there is none in "
            f"{model.model or 'the model'}. (An inventory file of an older release does not say; write it again.)",
            "layers",
        )
    found = next((table for piece, table in tables.items() if piece in model.backbone), None)
    if found is None:
        raise ConfigError(
            f"there is no table for the backbone {model.backbone}, only for {listing(list(tables))}", "layers"
        )
    return found
