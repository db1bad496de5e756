"""Depths inferred from the numbers in the names: one trunk of blocks, or of stages with blocks inside."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from math import inf

from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model.depths.depths import Depths
from optimbuild.model.depths.frozen_towers import outside_frozen_towers
from optimbuild.model.depths.numbered import Numbered, cut_at_number, cut_rest, indices_of, parent_of
from optimbuild.model.depths.stem import Trunk, is_token_or_table, other_towers, stem_of, widths
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

_BLOCK = re.compile(
    r"^(dense|residual|res|basic|conv)?_?(blocks?|layers?|units?|bottlenecks?|stages?|cells?)$", re.IGNORECASE
)
_TOP = re.compile(r"(^|[._])(final\w*|head|heads|classifier)(\.|$)")
_SHOWN = 30

Place = tuple[float, float]
"""Stage and block, by which layers are ordered."""

STEM: Place = (-1.0, 0.0)
TOP: Place = (inf, 0.0)


def from_names(model: Inventory) -> Depths:
    """Infer the depths of the trainable parameters from numbered names.

    The first layer is what shows by more than its position that it takes the input: see
    :mod:`~optimbuild.model.depths.stem`. What comes after the trunk, or is called a head or final, is the last layer.
    Parts of a stage that are no block (a down-sampling, say) share the layer of the block before them, or of the one
    after them where they come first. Everything else has no layer, such as another tower.

    Raises:
        ConfigError: No numbered blocks, or several sequences that could be the trunk; shows how to
            write ``layers`` by hand.
    """
    params, trunk, cuts = _trunk_of(model)
    nested = _nested([(number, rest) for container, number, rest in filter(None, cuts) if container == trunk])
    blocks = _attached([None if cut is None else _block(cut, trunk, nested) for cut in cuts])
    start = next(i for i, block in enumerate(blocks) if block is not None)
    end = len(blocks) - next(i for i, block in enumerate(reversed(blocks)) if block is not None)
    around = _Around(params, blocks, start, end, parent_of(trunk))
    places = {
        param.name: block or around.place(param.name, position)
        for position, (param, block) in enumerate(zip(params, blocks, strict=True))
        if param.trainable or not model.trainable
    }
    layer_at = {place: layer for layer, place in enumerate(sorted({place for place in places.values() if place}))}
    layer_of = {name: layer_at[place] for name, place in places.items() if place is not None}
    within = _pattern(trunk) + ("" if nested is None else f".{_pattern(nested)}")
    return Depths(layer_of, len(layer_at), f"names: {len(layer_at)} layers around {within}{_ends(layer_of)}")


def _trunk_of(model: Inventory) -> tuple[Sequence[ParamInfo], str, list[Numbered | None]]:
    """Return the parameters among which there is one trunk, its container, and how the names are cut.

    These are all parameters. Where they have no one trunk, or one of which nothing is trained, frozen towers are left
    out, such as a teacher. If the rest has no trunk either, one counts that the config freezes, which leaves the layers
    of what it trains as they were; and at last the trainable parameters alone.
    """
    outside = outside_frozen_towers(model)
    for params, who in ((model.params, model.trained), (outside, model.trained), (model.params, model.trainable)):
        with suppress(ConfigError):
            trunk, cuts = _trunk([param.name for param in params])
            members = {param.name for param, cut in zip(params, cuts, strict=True) if cut and cut[0] == trunk}
            if not model.trainable or any(param.name in members for param in who):
                return params, trunk, cuts
    trainable = [param for param in outside if param.trainable] or outside
    return (trainable, *_trunk([param.name for param in trainable]))


class _Around:
    """The places of what is in no block.

    Args:
        params: The parameters, in model order.
        blocks: For each the place of its block; None where it is in none.
        start: The position of the first one in a block.
        end: The position behind the last one.
        home: The name of the module that holds the trunk.
    """

    def __init__(
        self, params: Sequence[ParamInfo], blocks: Sequence[Place | None], start: int, end: int, home: str
    ) -> None:
        known = {place for place in blocks if place is not None}
        first, last = (
            widths(param for param, block in zip(params, blocks, strict=True) if block == place)
            for place in (min(known), max(known))
        )
        before, after = params[:start], params[end:]
        self.end = end
        self.towers = other_towers(before, home) | other_towers(after, home)
        self.stem = stem_of(before, after, Trunk(home, first, last))
        self.tied = frozenset([param.name for param in params if param.aliases])

    def place(self, name: str, position: int) -> Place | None:
        """Return the place of a parameter that is in no block; None where nothing places it."""
        is_top = _TOP.search(name) is not None
        if name in self.stem and (name in self.tied or not is_top):
            return STEM
        if name in self.towers:
            return None
        return TOP if is_top or position >= self.end else None


def _ends(layer_of: Mapping[str, int]) -> str:
    """Return in words what is in the first and the last layer."""
    last = max(layer_of.values())
    ends = [[name for name, layer in layer_of.items() if layer == end] for end in (0, last)]
    return f"; the first is {listing(ends[0], 4)}; the last is {listing(ends[1], 4)}"


def _trunk(names: Sequence[str]) -> tuple[str, list[Numbered | None]]:
    """Return the one container of numbered modules that holds most of the model, and how names are cut.

    Beside the trunk's own, only names of its companions are cut: small sequences next to it with the same indices, such
    as one down-sampling a stage.
    """
    rivals: list[str] = []
    cuts: list[Numbered | None] = []
    for digits_at_end in (False, True):
        cuts = [cut_at_number(name, digits_at_end) for name in names]
        tensors = Counter([container for container, _, _ in filter(None, cuts)])
        indices = indices_of(cuts)
        sequences = sorted(((tensors[c], c) for c, found in indices.items() if len(found) > 1), reverse=True)
        holds_most = bool(sequences) and 2 * sequences[0][0] > len(names)
        if holds_most and (len(sequences) == 1 or sequences[0][0] >= 4 * sequences[1][0]):
            trunk = sequences[0][1]
            beside = [container for container in indices if parent_of(container) == parent_of(trunk)]
            companions = {container for container in beside if indices[container] == indices[trunk]}
            return trunk, [cut if cut is not None and cut[0] in companions else None for cut in cuts]
        rivals = rivals or [container for _, container in sequences]
    raise _ambiguous(names, rivals)


def _nested(stages: Sequence[tuple[int, str]]) -> str | None:
    """Return the path from a stage to its numbered blocks, where most of each stage is such blocks."""
    blocks: dict[str, dict[int, dict[int, set[str]]]] = defaultdict(lambda: defaultdict(dict))
    tensors: Counter[str] = Counter()
    for stage, rest in stages:
        container, number, inside = cut_rest(rest) or ("", -1, "")
        if "." in inside and _is_called_block(container):
            tensors[container] += 1
            blocks[container][stage].setdefault(number, set()).add(inside)
    for container, count in tensors.most_common(1):
        if 2 * count > len(stages) and any(_alike(inside.values()) for inside in blocks[container].values()):
            return container
    return None


@lru_cache(maxsize=4096)
def _is_called_block(container: str) -> bool:
    return not container or _BLOCK.match(container) is not None


def _alike(blocks: Iterable[set[str]]) -> bool:
    """Say whether two of the numbered parts have most of their parameters in common, as blocks have.

    The parts of one block (attention, MLP), which T5 numbers as well, have not.
    """
    parts = list(blocks)
    pairs = ((a, b) for i, a in enumerate(parts) for b in parts[:i])
    return any(2 * len(a & b) > min(len(a), len(b)) for a, b in pairs)


def _block(cut: Numbered, trunk: str, nested: str | None) -> tuple[int, int | None]:
    """Return the stage, and the block in it or None for a part of the stage that is no block."""
    container, number, rest = cut
    if container != trunk:
        return number, None
    if nested is None:
        return number, 0
    inner = cut_rest(rest)
    return number, inner[1] if inner is not None and inner[0] == nested else None


def _attached(blocks: Sequence[tuple[int, int | None] | None]) -> list[Place | None]:
    """Give parts of a stage that are no block the block before them, or the first one after them."""
    first: dict[int, int] = {}
    for found in blocks:
        if found is None:
            continue
        stage, block = found
        if block is not None and block < first.get(stage, inf):
            first[stage] = block
    places: list[Place | None] = []
    known: dict[Place, Place] = {}  # a million parameters share few places
    latest = dict(first)
    for found in blocks:
        if found is None:
            places.append(None)
            continue
        stage, block = found
        latest[stage] = latest.get(stage, 0) if block is None else block
        place = (stage, latest[stage])
        places.append(known.setdefault(place, place))
    return places


def _ambiguous(names: Sequence[str], rivals: Sequence[str]) -> ConfigError:
    if len(rivals) > 1:
        reason = f"several sequences of numbered modules could be the trunk: {', '.join(map(_pattern, rivals[:4]))}"
    elif rivals:
        reason = f"{_pattern(rivals[0])} is the only sequence of numbered modules, and holds too little of the model"
    else:
        reason = "no sequence of numbered modules is in them"
    towers = _towers(names, rivals)
    stacked = _yaml(_example(names, rivals))
    if len(towers) < 2:
        told = f"Write the layers by hand, from input to output, for example:\n{stacked}"
    else:
        told = (
            "Write the layers by hand. Where the sequences are parallel, such as the towers of an image and a text "
            f"encoder, each gets a rule, for example:\n{_rules(towers)}\nWhere each takes what the one before it "
            f"gives, one rule lists them from input to output:\n{stacked}"
        )
    return ConfigError(f"depth cannot be inferred from the names: {reason}. {told}", "layers")


def _towers(names: Sequence[str], rivals: Sequence[str]) -> list[list[list[str]]]:
    """Return the layers of each tower, from input to output: the sequences in its module, and what is around them.

    Sequences in one module are no towers; a model has them one after the other.
    """
    homes = _homes(rivals)
    if len(homes) < 2:
        return []
    return [
        _example([name for name in names if f"{name}.".startswith(home)], [r for r in rivals if r.startswith(home)])
        for home in homes
    ]


def _homes(rivals: Sequence[str]) -> list[str]:
    """Return what the names of each tower begin with: the shortest beginnings that tell the sequences apart."""
    if len(rivals) < 2:
        return []
    segments = [rival.split(".") for rival in rivals]
    depth = 0
    while all(len(found) > depth + 1 for found in segments) and len({found[depth] for found in segments}) == 1:
        depth += 1
    if any(len(found) <= depth + 1 for found in segments):
        return []
    return list(dict.fromkeys(".".join(found[: depth + 1]) + "." for found in segments))


def _example(names: Sequence[str], rivals: Sequence[str]) -> list[list[str]]:
    """Return layers as patterns: each sequence numbered, and what comes between two of them as one layer."""
    entries: list[list[str]] = []
    seen: set[str] = set()
    was_numbered = True
    above = {rival[:i] for rival in rivals for i, letter in enumerate(rival) if letter == "."} | {""}
    bare = [name for name in names if name.rpartition(".")[0] in above]
    unplaced = {name for name in bare if not (is_token_or_table(name.rpartition(".")[2]) or _TOP.search(name))}
    if len(unplaced) == len(names):  # else they are such as a logit_scale, which nothing places
        unplaced = set()
    for name in names:
        cuts = (cut_at_number(name, digits_at_end) for digits_at_end in (False, True))
        container = next((found for found, _, _ in filter(None, cuts) if found in rivals), None)
        if container is None and name in unplaced:
            continue
        pattern = _pattern(container) if container is not None else _outside(name, rivals)
        if pattern not in seen:
            seen.add(pattern)
            if container is not None or was_numbered:
                entries.append([])
            entries[-1].append(pattern)
        was_numbered = container is not None or not rivals
    return entries


def _yaml(entries: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Return the option ``layers`` in YAML."""
    lines = [f"{indent}  - {json.dumps(entry[0] if len(entry) == 1 else entry)}" for entry in entries]
    more = [f"{indent}  # and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([f"{indent}layers:", *lines[:_SHOWN], *more])


def _rules(towers: Sequence[Sequence[Sequence[str]]]) -> str:
    """Return one rule per tower in YAML."""
    return "\n".join(f"  - type: layer_decay\n    ratio: 0.75\n{_yaml(tower, '    ')}" for tower in towers)


def _pattern(container: str) -> str:
    return container.replace("#", "{n}") if container.endswith("#") else f"{container}.{{n}}".lstrip(".")


def _outside(name: str, rivals: Sequence[str]) -> str:
    """Return the shortest beginning of a name that covers nothing of a numbered sequence."""
    segments = name.split(".")
    for length in range(1, len(segments)):
        beginning = ".".join(segments[:length])
        if not any(f"{rival}.".startswith(f"{beginning}.") for rival in rivals):
            return beginning
    return name
