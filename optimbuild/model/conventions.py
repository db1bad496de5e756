"""Conventions of weight decay: what speaks against decaying a parameter."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from optimbuild.model import marks
from optimbuild.model.inventory import Inventory
from optimbuild.model.kinds import role_of
from optimbuild.model.param_info import ParamInfo

_WEIGHTS = frozenset(("linear", "conv", "embedding", "deformable"))
_MAGNITUDE = re.compile(r"(^|_)weight(_\w+)?_g$")
_WEIGHT = re.compile(r"(^|_)weight(_|$)|^lora_")
_WEIGHT_OF_CONTAINER = re.compile(r"(^|\.)(weight|lora_\w+)\.[^.]+$")


def causes_not_to_decay(
    params: Iterable[ParamInfo], switches: Collection[str]
) -> dict[tuple[str, str], list[ParamInfo]]:
    """Return the parameters by the first cause in them against weight decay, see :func:`reason_not_to_decay`.

    Args:
        params: The parameters.
        switches: The switches that are on.
    """
    found: dict[tuple[str, str], list[ParamInfo]] = {}
    for param in params:
        reason = reason_not_to_decay(param, switches)
        if reason is not None:
            found.setdefault(reason, []).append(param)
    return found


def reason_not_to_decay(param: ParamInfo, switches: Collection[str]) -> tuple[str, str] | None:
    """Return the first reason in a parameter itself against weight decay: the switch of ``no_decay``, and the reason.

    Args:
        param: The parameter.
        switches: The switches that are on.

    >>> reason_not_to_decay(ParamInfo("experts.up_bias", (8, 4), kinds=frozenset({"bias"})), {"other_biases"})
    ('other_biases', 'bias: by another name')
    """
    kinds, dimensions = param.kinds, len(param.shape)
    is_bias = _is_bias(param.name)
    if param.aliases and "first_names" not in switches:
        is_bias = is_bias or any(map(_is_bias, param.aliases))
    if "norm" in kinds and "norm" in switches:
        return "norm", f"parameter of a normalization layer, {param.owner}"
    if is_bias and "bias" in switches:
        return "bias", "bias"
    if dimensions <= 1 and "one_dimensional" in switches and (dimensions or "decay_scalars" not in switches):
        return "one_dimensional", "one-dimensional"
    if "bias" in kinds and not is_bias and "other_biases" in switches:
        return "other_biases", f"bias: {param.evidence.get('bias', 'by another name')}"
    if not is_bias and "vectors" in switches and is_vector(param):
        return "vectors", "vector: all dimensions but one have length 1"
    if param.marks.get(marks.NO_DECAY) and "marks" in switches:
        return "marks", f"its mark {marks.NO_DECAY}"
    return None


def _is_bias(name: str) -> bool:
    return name.endswith(".bias") or name == "bias"


class Hinted(NamedTuple):
    """What a hint of a module names.

    Args:
        hint: The name or keyword that it gives.
        params: The parameters.
        why: The reason, for people.
        inner: Whether it is a hint of a module inside the model.
    """

    hint: str
    params: Sequence[ParamInfo]
    why: str
    inner: bool


def hinted_not_to_decay(model: Inventory, inner: bool = True) -> Iterator[Hinted]:
    """Yield what the hints of all modules name.

    What a module names holds below it, and is relative to it.

    Args:
        model: The model.
        inner: Whether the modules inside it are asked as well.
    """
    for prefix, hints in model.hints.offering("no_weight_decay", "no_weight_decay_keywords"):
        if prefix and not inner:
            break  # the root comes first
        for name in sorted(hints.no_weight_decay()):
            found = [model[prefix + name]] if prefix + name in model else []
            yield Hinted(prefix + name, found, f"{hints.of}'s no_weight_decay() names it", bool(prefix))
        for keyword in hints.no_weight_decay_keywords():
            why = f"name contains {keyword!r}, which {hints.of}'s no_weight_decay_keywords() gives"
            yield Hinted(f"{prefix}*{keyword}*", model.containing(keyword, below=prefix), why, bool(prefix))


def is_vector(param: ParamInfo) -> bool:
    """Say whether a parameter is a vector in another shape: all dimensions but one have length 1.

    The weight of a linear layer, a convolution, an embedding or a recurrent layer is none, whatever its shape: one
    output, one input or one channel make no vector. Nor is what such a weight is computed from, except for the
    magnitudes of weight norm.

    >>> is_vector(ParamInfo("grn.gamma", (1, 1, 1, 96))), is_vector(ParamInfo("pos_embed", (1, 197, 768)))
    (True, False)
    """
    if len(param.shape) < 2 or param.shape.count(1) < len(param.shape) - 1:
        return False
    own, role = param.name.rpartition(".")[2], role_of(param.name, container=param.container)
    if _MAGNITUDE.search(own) or (own == "original0" and _WEIGHT.search(role)):
        return True
    is_layer = not param.kinds.isdisjoint(_WEIGHTS) or ("norm" not in param.kinds and bool(param.bases))
    return not (is_layer and (_WEIGHT.search(role) or _WEIGHT_OF_CONTAINER.search(param.name)))
