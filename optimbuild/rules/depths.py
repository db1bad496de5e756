"""How deep in the model every parameter lies: asked, given by hand, or inferred from names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimbuild.errors import ConfigError, ModelError
from optimbuild.params import Inventory, ParamInfo
from optimbuild.patterns import INDEX, REGEX, Pattern

TOGETHER = 99999
"""Timm's mark for a layer that belongs to the one before it."""


@dataclass(frozen=True)
class Depths:
    """The layer of every parameter that some layer claims.

    Args:
        layer_of: By name, counted from the input.
        layers: The number of layers.
        source: Where the depths come from, in words.
        patterns: What the patterns of ``layers`` match, by the path of the option.
    """

    layer_of: Mapping[str, int]
    layers: int
    source: str
    patterns: Sequence[tuple[str, str, Sequence[ParamInfo]]] = ()


def by_layer_depth(inventory: Inventory) -> Depths:
    """Ask the model's ``get_layer_depth(name)``, as MMPretrain's models answer it."""
    found = {param.name: inventory.hooks.get_layer_depth(param.name) for param in inventory}
    counts = {layers for _, layers in found.values()}
    if len(counts) > 1:
        raise ModelError(f"get_layer_depth of the model gives different numbers of layers: {sorted(counts)}")
    return Depths(
        {name: layer for name, (layer, _) in found.items()}, counts.pop(), "the model's get_layer_depth(name)"
    )


def by_group_matcher(inventory: Inventory) -> Depths:
    """Ask timm's ``group_matcher(coarse=False)`` and order its groups as timm does."""
    found = {param.name: inventory.hooks.group_of(param.name) for param in inventory}
    layer_of_group: dict[tuple[float, ...], int] = {}
    layer = -1
    for group in sorted(set(found.values())):
        if layer < 0 or group[-1] != TOGETHER:
            layer += 1
        layer_of_group[group] = layer
    layer_of = {name: layer_of_group[group] for name, group in found.items()}
    return Depths(layer_of, layer + 1, "the model's group_matcher()")


def by_hand(inventory: Inventory, layers: Sequence[str | Sequence[str]]) -> Depths:
    """Take the layers from input to output as they were written; the first entry that matches counts."""
    place_of: dict[str, tuple[int, tuple[int, ...]]] = {}
    patterns = []
    for place, entry in enumerate(layers):
        for text in (entry,) if isinstance(entry, str) else entry:
            pattern, found = Pattern(text), []
            numbered = INDEX in text or (text.startswith(REGEX) and pattern.regex.groups > 0)
            for param in inventory:
                index = next((i for name in param.names if (i := pattern.index(name)) is not None), None)
                if index is not None:
                    found.append(param)
                    place_of.setdefault(param.name, (place, index if numbered else ()))
            patterns.append((f"layers[{place}]", text, found))
    layer_of_place = {where: layer for layer, where in enumerate(sorted(set(place_of.values())))}
    layer_of = {name: layer_of_place[where] for name, where in place_of.items()}
    return Depths(layer_of, len(layer_of_place), "`layers` of the config", patterns)


_NUMBERED = re.compile(r"^(.*?[A-Za-z_])??(\d+)$")
_BLOCK = re.compile(
    r"^(dense|residual|res|basic|conv)?_?(blocks?|layers?|units?|bottlenecks?|stages?|cells?)$", re.IGNORECASE
)


@dataclass(frozen=True)
class _Numbered:
    """A name cut at a number: the container, the index, and the segments after it."""

    container: str
    index: int
    rest: tuple[str, ...]


def _cut(segments: Sequence[str], start: int, digits_at_end: bool) -> _Numbered | None:
    """Cut a name at its first numbered segment from ``start`` on: ``7`` itself, or else ``layer7``."""
    for at in range(start, len(segments)):
        found = _NUMBERED.match(segments[at])
        if found and (digits_at_end if found[1] else True):
            container = ".".join([*segments[start:at], found[1] + "#" if found[1] else ""]).rstrip(".")
            return _Numbered(container, int(found[2]), tuple(segments[at + 1 :]))
    return None


def by_names(inventory: Inventory) -> Depths:
    """Infer the depths from numbered names: one trunk of blocks, or of stages with blocks inside.

    What comes before the trunk in model order is the first layer, what comes after it the last one. Parts of a
    stage that are no block (a down-sampling, say) share the layer of the block before them, or
    of the one after them where they come first.

    Raises:
        ConfigError: No numbered blocks, or several sequences that could be the trunk; shows how to
            write ``layers`` by hand.
    """
    names = [param.name for param in inventory]
    trunk, cuts = _trunk(names)
    inside = [cut for cut in cuts if cut is not None]
    nested = _nested(inside)
    keys = [None if cut is None else _key(cut, nested) for cut in cuts]
    places = _attached(keys)
    layer_of_key = {key: layer for layer, key in enumerate(sorted({key for key in places if key is not None}))}
    first = next(i for i, key in enumerate(places) if key is not None)
    last = len(places) - next(i for i, key in enumerate(reversed(places)) if key is not None)
    stem = int(first > 0 or any(key is None for key in places[:last]))
    layer_of = {}
    for position, (name, place) in enumerate(zip(names, places, strict=True)):
        if place is not None:
            layer_of[name] = layer_of_key[place] + stem
        else:
            layer_of[name] = 0 if position < last else len(layer_of_key) + stem
    layers = max(layer_of.values()) + 1
    within = f"{trunk}.{{n}}" + (f".{nested}.{{n}}" if nested else ".{n}" if nested == "" else "")
    return Depths(layer_of, layers, f"names: {layers} layers around {within.replace('#.{n}', '{n}').lstrip('.')}")


def _trunk(names: Sequence[str]) -> tuple[str, list[_Numbered | None]]:
    """Return the one container of numbered modules that holds most of the model, and every name cut at it."""
    rivals: list[str] = []
    for digits_at_end in (False, True):
        cuts = [_cut(name.split("."), 0, digits_at_end) for name in names]
        tensors = Counter(cut.container for cut in cuts if cut is not None)
        indices: dict[str, set[int]] = {}
        for cut in cuts:
            if cut is not None:
                indices.setdefault(cut.container, set()).add(cut.index)
        sequences = sorted(((tensors[c], c) for c, found in indices.items() if len(found) > 1), reverse=True)
        holds_most = bool(sequences) and 2 * sequences[0][0] > len(names)
        if holds_most and (len(sequences) == 1 or sequences[0][0] >= 4 * sequences[1][0]):
            trunk = sequences[0][1]
            return trunk, [cut if cut is not None and cut.container == trunk else None for cut in cuts]
        rivals = rivals or [container for _, container in sequences]
    raise _ambiguous(names, rivals)


def _nested(cuts: Sequence[_Numbered]) -> str | None:
    """Return the path from a stage to its numbered blocks, where most of each stage is such blocks."""
    tensors: Counter[str] = Counter()
    indices: dict[str, set[int]] = {}
    for cut in cuts:
        inner = _cut(cut.rest, 0, True)
        if (
            inner is not None
            and len(inner.rest) > 1
            and (not inner.container or _BLOCK.match(inner.container.rstrip("#")))
        ):
            tensors[inner.container] += 1
            indices.setdefault(inner.container, set()).add(inner.index)
    for container, count in tensors.most_common(1):
        if 2 * count > len(cuts) and len(indices[container]) > 1:
            return container
    return None


def _key(cut: _Numbered, nested: str | None) -> tuple[int, int | None]:
    """Return the stage, and the block in it or None for a part of the stage that is no block."""
    if nested is None:
        return cut.index, 0
    inner = _cut(cut.rest, 0, True)
    return cut.index, inner.index if inner is not None and inner.container == nested else None


def _attached(keys: Sequence[tuple[int, int | None] | None]) -> list[tuple[int, int] | None]:
    """Give parts of a stage that are no block the block before them, or the first one after them."""
    blocks: dict[int, list[int]] = {}
    for key in keys:
        if key is not None and key[1] is not None:
            blocks.setdefault(key[0], []).append(key[1])
    places: list[tuple[int, int] | None] = []
    latest: dict[int, int] = {}
    for key in keys:
        if key is None:
            places.append(None)
            continue
        stage, block = key
        if block is None:
            block = latest.get(stage, min(blocks.get(stage, [0])))
        latest[stage] = block
        places.append((stage, block))
    return places


def _ambiguous(names: Sequence[str], containers: Sequence[str]) -> ConfigError:
    if containers:
        found = ", ".join(container.replace("#", "{n}") or "{n}" for container in containers[:4])
        reason = f"several sequences of numbered modules could be the trunk: {found}"
    else:
        reason = "no sequence of numbered modules holds most of the model"
    return ConfigError(
        f"depth cannot be inferred from the names: {reason}. Write the layers by hand, from input to "
        f"output, for example:\n{_example(names, containers)}",
        "layers",
    )


def _example(names: Sequence[str], containers: Sequence[str]) -> str:
    top: dict[str, None] = {}
    for name in names:
        container = next(
            (c for c in containers if name.startswith(c.replace("#", "") + ("" if "#" in c else "."))), None
        )
        pattern = name.split(".")[0] if container is None else f"{container}.{{n}}".replace("#.", "").lstrip(".")
        top[pattern] = None
    return "\n".join(["  layers:", *(f'    - "{pattern}"' for pattern in list(top)[:12])])
