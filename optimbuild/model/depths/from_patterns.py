"""Depths as given by hand: the layers from input to output, each as patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model.depths.depths import Depths
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import Pattern


def from_patterns(model: Inventory, layers: Sequence[str | Sequence[str]]) -> Depths:
    """Return the depths that a list of layers gives; the first entry that matches a parameter counts.

    An entry with ``{n}`` is as many layers as there are indices. Parameters that are not trainable make no layer.

    Args:
        model: The model.
        layers: The layers from input to output: each a pattern, or several that share a layer.

    Raises:
        ConfigError: Of the patterns of one entry some have numbers and others have none, so that they share no layer.
    """
    place_of: dict[str, tuple[int, tuple[int, ...]]] = {}
    patterns = []
    for number, entry in enumerate(layers):
        alone = isinstance(entry, str)
        numbered: dict[bool, str] = {}  # a pattern that gives numbers, and one that gives none
        for place, text in enumerate([entry] if isinstance(entry, str) else entry):
            pattern, found = Pattern(text), []
            for param in model:
                index = next((i for name in param.names if (i := pattern.index(name)) is not None), None)
                if index is not None:
                    found.append(param)
                    numbered.setdefault(bool(index), text)
                    place_of.setdefault(param.name, (number, index))
            if len(numbered) > 1:
                many, one = shown(numbered[True]), shown(numbered[False])
                told = f"{many} is one layer per number, and {one} is one layer, so they cannot share an entry. "
                raise ConfigError(told + "Write an entry for each, from input to output", f"layers[{number}]")
            patterns.append((f"layers[{number}]" if alone else f"layers[{number}][{place}]", text, found))
    trained = {place_of[param.name] for param in model if param.trainable and param.name in place_of}
    layer_at = {place: layer for layer, place in enumerate(sorted(trained or set(place_of.values())))}
    layer_of = {name: layer_at[place] for name, place in place_of.items() if place in layer_at}
    taken = {option: earlier for option, _, found in patterns if (earlier := _taken_by(option, found, place_of))}
    return Depths(layer_of, len(layer_at), "`layers` of the config", patterns, taken)


def _taken_by(
    option: str, found: Sequence[ParamInfo], place_of: Mapping[str, tuple[int, tuple[int, ...]]]
) -> list[str]:
    """Return the entries that take all parameters of a pattern; none where its own entry takes some."""
    entries = dict.fromkeys([f"layers[{place_of[param.name][0]}]" for param in found])
    return [] if any(option.startswith(entry) for entry in entries) else list(entries)
