"""Depths inferred from the numbers in the names: one trunk of blocks, or of stages with blocks inside."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model.depths.depths import Depths
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

_NUMBER = re.compile(r"(?<![^.])()(\d+)(?![^.])")
_NUMBERED = re.compile(r"(?<![^.])([^.]*?[A-Za-z_])??(\d+)(?![^.])")
_BLOCK = re.compile(
    r"^(dense|residual|res|basic|conv)?_?(blocks?|layers?|units?|bottlenecks?|stages?|cells?)$", re.IGNORECASE
)
_TOP = re.compile(r"(^|[._])(final\w*|head|heads|classifier)(\.|$)")
_SHOWN = 30

Place = tuple[float, float]
"""Stage and block, by which layers are ordered."""

STEM: Place = (-1.0, 0.0)
TOP: Place = (float("inf"), 0.0)


_Numbered = tuple[str, int, str]
"""A name cut at a number: the container, the number, and the name's rest.

Containers of ``layer7`` are written ``layer#``, those of ``layer.7`` ``layer``. Plain tuples, because the garbage
collector does not look again at those that hold only names and numbers.
"""


def _parent(container: str) -> str:
    return container.rpartition(".")[0]


def _cut(name: str, digits_at_end: bool) -> _Numbered | None:
    """Cut a name at its first numbered segment: ``7`` itself, or else ``layer7``."""
    found = (_NUMBERED if digits_at_end else _NUMBER).search(name)
    if found is None:
        return None
    before = name[: found.start()]
    container = f"{before}{found[1]}#" if found[1] else before[:-1]
    return sys.intern(container), int(found[2]), name[found.end() + 1 :]


@lru_cache(maxsize=1 << 16)
def _inside(rest: str) -> _Numbered | None:
    """Cut what follows a number; the same rests follow the numbers of many blocks."""
    return _cut(rest, True)


def from_names(model: Inventory) -> Depths:
    """Infer the depths of the trainable parameters from numbered names.

    The first layer is what comes before the trunk in model order and shows that it takes the input: see
    :func:`_stem`. What comes after the trunk, or is called a head or final, is the last layer. Parts of a stage that
    are no block (a down-sampling, say) share the layer of the block before them, or of the one after them where they
    come first. Everything else has no layer.

    Raises:
        ConfigError: No numbered blocks, or several sequences that could be the trunk; shows how to
            write ``layers`` by hand.
    """
    params, trunk, cuts = _trunk_of(model)
    nested = _nested([(number, rest) for container, number, rest in filter(None, cuts) if container == trunk])
    blocks = _attached([None if cut is None else _block(cut, trunk, nested) for cut in cuts])
    start = next(i for i, block in enumerate(blocks) if block is not None)
    end = len(blocks) - next(i for i, block in enumerate(reversed(blocks)) if block is not None)
    stem = _stem(params[:start], _parent(trunk))
    places = {
        param.name: block or _place_outside(param.name, position, end, stem)
        for position, (param, block) in enumerate(zip(params, blocks, strict=True))
        if param.trainable or not model.trainable
    }
    layer_at = {place: layer for layer, place in enumerate(sorted({place for place in places.values() if place}))}
    layer_of = {name: layer_at[place] for name, place in places.items() if place is not None}
    within = _pattern(trunk) + ("" if nested is None else f".{_pattern(nested)}")
    return Depths(layer_of, len(layer_at), f"names: {len(layer_at)} layers around {within}{_ends(layer_of)}")


def _trunk_of(model: Inventory) -> tuple[Sequence[ParamInfo], str, list[_Numbered | None]]:
    """Return the parameters among which there is one trunk, its container, and how the names are cut.

    These are all parameters, or the trainable ones where all have no one trunk or a frozen one, such as a teacher.
    """
    try:
        trunk, cuts = _trunk(model.names)
        pairs = zip(model, cuts, strict=True)
        if not model.trainable or any(param.trainable for param, cut in pairs if cut is not None and cut[0] == trunk):
            return model.params, trunk, cuts
    except ConfigError:
        if not model.trainable or len(model.trainable) == len(model):
            raise
    return (model.trainable, *_trunk([param.name for param in model.trainable]))


def _place_outside(name: str, position: int, end: int, stem: frozenset[str]) -> Place | None:
    """Return the place of a parameter that is in no block."""
    if position >= end or _TOP.search(name):
        return STEM if _IS_STEM.search(name) and not _TOP.search(name) else TOP
    return STEM if name in stem else None


def _ends(layer_of: Mapping[str, int]) -> str:
    """Return in words what is in the first and the last layer."""
    last = max(layer_of.values())
    ends = [[name for name, layer in layer_of.items() if layer == end] for end in (0, last)]
    return f"; the first is {listing(ends[0], 4)}; the last is {listing(ends[1], 4)}"


_TAKES_INPUT = re.compile(
    r"(^|[._])(stem|patch\w*|embed\w*|\w*embed|\w*embeds|\w*embedding|\w*embeddings|wte|wpe|pos\w*|cls|class_token|\w*tokens?|"
    r"tokenizer|conv\w*|features?|in_?proj\w*|input\w*|proj_?in|relative_position\w*|rel_pos\w*|pre_?norm|ln_pre|norm_pre)([._]|$)",
    re.IGNORECASE,
)
"""Names of what takes the input of a model."""

_IS_STEM = re.compile(
    r"(^|\.)(stem|patch_embed(ding)?s?|(absolute_)?pos_embed(ding)?s?|position_embeddings?|cls_token|class_token|"
    r"embeddings?|embed_tokens|word_embeddings|tok_embeddings|wte|wpe)(\.|$)",
    re.IGNORECASE,
)
"""Names of what takes the input, wherever it is registered."""

_OF_A_LOSS = re.compile(
    r"(^|_)(loss(es)?|weights?|scales?|(log_)?vars?|temp(erature)?|margin|queue|mean|std)(_|$)", re.IGNORECASE
)
"""Names of what belongs to a loss or to a normalization of inputs, such as ``pos_weight`` and ``cls_loss_weight``."""


def _stem(params: Sequence[ParamInfo], home: str) -> frozenset[str]:
    """Return the names of the parameters before the trunk that show that they take the input.

    A module shows it by its name, or by an embedding in it; where none does, by a convolution in it. Norms between such
    a module and the trunk belong to it. A module that holds numbered blocks shows it only by its name, as it may be
    another tower. So does a parameter that belongs to the trunk's own parent, or to a module above it: a
    ``logit_scale`` or the weights of losses are there as well.

    Args:
        params: The parameters before the trunk, in model order.
        home: The name of the module that holds the trunk.
    """
    modules = [(module, list(found)) for module, found in groupby(params, lambda p: _module_beside(p.name, home))]
    strong = [_is_named_stem(module) or _has("embedding", module, found) for module, found in modules]
    if not any(strong):
        strong = [_has("conv", module, found) for module, found in modules]
    taken, seen_input = [], False
    for (module, found), shows in zip(modules, strong, strict=True):
        if module is None:
            taken += [param.name for param in found if _shows_input(param.name.rpartition(".")[2])]
            continue
        seen_input = seen_input or shows
        norms = seen_input and all("norm" in param.kinds for param in found)
        taken += [param.name for param in found if shows or norms]
    return frozenset(taken)


def _is_named_stem(module: str | None) -> bool:
    return module is not None and _TAKES_INPUT.search(module.rpartition(".")[2]) is not None


def _has(kind: str, module: str | None, params: Sequence[ParamInfo]) -> bool:
    """Say whether a module holds a parameter of a kind, and no numbered blocks, as another tower does."""
    if module is None or not any(kind in param.kinds for param in params):
        return False
    cuts = [_cut(param.name[len(module) + 1 :], digits_at_end) for param in params for digits_at_end in (False, True)]
    return all(len(numbers) < 2 for numbers in _indices(cuts).values())


def _shows_input(own: str) -> bool:
    return _TAKES_INPUT.search(own) is not None and _OF_A_LOSS.search(own) is None


def _module_beside(name: str, home: str) -> str | None:
    """Return the module beside the trunk, or beside a module around it, that holds a parameter; None if no module."""
    above, segments = home.split(".") if home else [], name.split(".")
    shared = 0
    while shared < min(len(above), len(segments) - 1) and above[shared] == segments[shared]:
        shared += 1
    return ".".join(segments[: shared + 1]) if shared + 1 < len(segments) else None


def _trunk(names: Sequence[str]) -> tuple[str, list[_Numbered | None]]:
    """Return the one container of numbered modules that holds most of the model, and how names are cut.

    Beside the trunk's own, only names of its companions are cut: small sequences next to it with the same indices, such
    as one down-sampling a stage.
    """
    rivals: list[str] = []
    cuts: list[_Numbered | None] = []
    for digits_at_end in (False, True):
        cuts = [_cut(name, digits_at_end) for name in names]
        tensors = Counter([container for container, _, _ in filter(None, cuts)])
        indices = _indices(cuts)
        sequences = sorted(((tensors[c], c) for c, found in indices.items() if len(found) > 1), reverse=True)
        holds_most = bool(sequences) and 2 * sequences[0][0] > len(names)
        if holds_most and (len(sequences) == 1 or sequences[0][0] >= 4 * sequences[1][0]):
            trunk = sequences[0][1]
            companions = {c for c, found in indices.items() if _parent(c) == _parent(trunk) and found == indices[trunk]}
            return trunk, [cut if cut is not None and cut[0] in companions else None for cut in cuts]
        rivals = rivals or [container for _, container in sequences]
    raise _ambiguous(names, rivals)


def _indices(cuts: Iterable[_Numbered | None]) -> Mapping[str, set[int]]:
    indices: dict[str, set[int]] = defaultdict(set)
    for container, number, _ in filter(None, cuts):
        indices[container].add(number)
    return indices


def _nested(stages: Sequence[tuple[int, str]]) -> str | None:
    """Return the path from a stage to its numbered blocks, where most of each stage is such blocks."""
    blocks: dict[str, dict[int, dict[int, set[str]]]] = defaultdict(lambda: defaultdict(dict))
    tensors: Counter[str] = Counter()
    for stage, rest in stages:
        container, number, inside = _inside(rest) or ("", -1, "")
        if "." in inside and (not container or _BLOCK.match(container)):
            tensors[container] += 1
            blocks[container][stage].setdefault(number, set()).add(inside)
    for container, count in tensors.most_common(1):
        if 2 * count > len(stages) and any(_alike(inside.values()) for inside in blocks[container].values()):
            return container
    return None


def _alike(blocks: Iterable[set[str]]) -> bool:
    """Say whether two of the numbered parts have most of their parameters in common, as blocks have.

    The parts of one block (attention, MLP), which T5 numbers as well, have not.
    """
    parts = list(blocks)
    pairs = ((a, b) for i, a in enumerate(parts) for b in parts[:i])
    return any(2 * len(a & b) > min(len(a), len(b)) for a, b in pairs)


def _block(cut: _Numbered, trunk: str, nested: str | None) -> tuple[int, int | None]:
    """Return the stage, and the block in it or None for a part of the stage that is no block."""
    container, number, rest = cut
    if container != trunk:
        return number, None
    if nested is None:
        return number, 0
    inner = _inside(rest)
    return number, inner[1] if inner is not None and inner[0] == nested else None


def _attached(blocks: Sequence[tuple[int, int | None] | None]) -> list[Place | None]:
    """Give parts of a stage that are no block the block before them, or the first one after them."""
    first: dict[int, int] = {}
    for found in blocks:
        if found is not None and found[1] is not None:
            first[found[0]] = min(found[1], first.get(found[0], found[1]))
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
    unplaced = {name for name in bare if not (_shows_input(name.rpartition(".")[2]) or _TOP.search(name))}
    if len(unplaced) == len(names):  # else they are such as a logit_scale, which nothing places
        unplaced = set()
    for name in names:
        cuts = (_cut(name, digits_at_end) for digits_at_end in (False, True))
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
