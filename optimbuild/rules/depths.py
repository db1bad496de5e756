"""How deep in the model every parameter lies: as the model answers, or as given by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optimbuild.errors import ModelError
from optimbuild.messages import listing
from optimbuild.model._columns import Column
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import Pattern

TOGETHER = 99999
"""Timm's mark for a layer that belongs to the one before it."""


@dataclass(frozen=True)
class Depths:
    """The layer of every parameter that some layer claims.

    Args:
        layer_of: By name, counted from the input.
        source: Where the depths come from, in words.
        patterns: What the patterns of ``layers`` match, by the path of the option.
    """

    layer_of: Column[int]
    source: str
    patterns: Sequence[tuple[str, str, Sequence[ParamInfo]]] = ()

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.layer_of.distinct)


def layered(inventory: Inventory, layers: Iterable[int | None], count: int) -> Column[int]:
    """Return the layer of each parameter by its name; None where it has none, of so many layers."""
    return Column(inventory.names, [0 if layer is None else layer + 1 for layer in layers], [None, *range(count)])


def by_layer_depth(inventory: Inventory) -> Depths:
    """Ask the model's ``get_layer_depth(name)``, as MMPretrain's models answer it."""
    found = [inventory.hooks.get_layer_depth(name) for name in inventory.names]
    counts = {layers for _, layers in found}
    if len(counts) > 1:
        raise ModelError(f"get_layer_depth of the model gives different numbers of layers: {sorted(counts)}")
    return Depths(layered(inventory, [layer for layer, _ in found], counts.pop()), "the model's get_layer_depth(name)")


def by_group_matcher(inventory: Inventory) -> Depths:
    """Ask timm's ``group_matcher(coarse=False)`` and order its groups as timm does."""
    found = [inventory.hooks.group_of(name) for name in inventory.names]
    layer_of_group: dict[tuple[float, ...], int] = {}
    layer = -1
    for group in sorted(set(found)):
        if layer < 0 or group[-1] != TOGETHER:
            layer += 1
        layer_of_group[group] = layer
    rest = [name for name, group in zip(inventory.names, found, strict=True) if group == (float("inf"),)]
    source = "the model's group_matcher()" + (f"; what it does not match is on top: {listing(rest)}" if rest else "")
    return Depths(layered(inventory, [layer_of_group[group] for group in found], layer + 1), source)


def by_hand(inventory: Inventory, layers: Sequence[str | Sequence[str]]) -> Depths:
    """Take the layers from input to output as they were written; the first entry that matches counts."""
    place_of: dict[str, tuple[int, tuple[int, ...]]] = {}
    patterns = []
    for place, entry in enumerate(layers):
        shared = (
            [(f"layers[{place}]", entry)]
            if isinstance(entry, str)
            else [(f"layers[{place}][{i}]", text) for i, text in enumerate(entry)]
        )
        for where, text in shared:
            pattern, found = Pattern(text), []
            for param in inventory:
                index = next((i for name in param.names if (i := pattern.index(name)) is not None), None)
                if index is not None:
                    found.append(param)
                    place_of.setdefault(param.name, (place, index))
            patterns.append((where, text, found))
    places = sorted(set(place_of.values()))
    layer_of_place = {where: layer for layer, where in enumerate(places)}
    layer_of = [layer_of_place[place_of[name]] if name in place_of else None for name in inventory.names]
    return Depths(layered(inventory, layer_of, len(places)), "`layers` of the config", patterns)
