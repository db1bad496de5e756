"""The stem: what of a model takes the input, and so lies below its trunk."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from optimbuild.model.depths.numbered import cut_at_number, indices_of
from optimbuild.model.param_info import ParamInfo

_IS_STEM = re.compile(
    r"(^|\.)(\w*stem\w*|(patch|pos)_embed\w*|absolute_pos_embed\w*|position_embeddings?|cls_token|class_token|"
    r"embed|embeddings?|embed_tokens|word_embeddings|tok_embeddings|wte|wpe)(\.|$)",
    re.IGNORECASE,
)
"""Names of what takes the input, wherever it is registered."""

_IS_PROBABLY_STEM = re.compile(
    r"^(conv_?(0|1|in|pre|proj|embed)|in_?proj\w*|input\w*|proj_?in|tokenizer|pre_?norm|ln_pre|norm_pre|\w*embedder|"
    r"embed(?!_?out)\w*|patch\w*|pos(ition(al)?)?(_\w+|\d*)|sub_?sampl\w*|rel(ative)?_pos\w*)$",
    re.IGNORECASE,
)
"""Names of modules that take the input where they stand before a trunk."""

_MAY_BE_STEM = re.compile(
    r"(^|_)(\w*embed|\w*embeds|\w*embedding|\w*embeddings|\w*tokens?|conv\w*|features?|pos\w*)(_|$)", re.IGNORECASE
)
"""Names that stems and heads share: ``patch_conv`` is a stem, ``class_embed`` and ``conv_cls`` are heads."""

_GIVES_OUTPUT = re.compile(
    r"(^|_)(un_?embed\w*|out|outputs?|logits?|scores?|class(es)?|cls|labels?|bbox(es)?|box(es)?|masks?|reg|seg|"
    r"pred\w*|decoder)(_|$)",
    re.IGNORECASE,
)
"""Words in the names of heads."""

_OF_A_LOSS = re.compile(
    r"(^|_)(loss(es)?|weights?|scales?|(log_)?vars?|temp(erature)?|margin|queue|mean|std)(_|$)", re.IGNORECASE
)
"""Names of what belongs to a loss or to a normalization of inputs, such as ``pos_weight`` and ``cls_loss_weight``."""

_RAW_CHANNELS = 4
"""The most channels of an image or a sound."""


@dataclass(frozen=True)
class Trunk:
    """The trunk of a model: where it is, and how wide its first and its last block are.

    Args:
        home: The name of the module that holds the trunk.
        first: The widths in the first block: the lengths of its tensors' first two dimensions.
        last: The widths in the last block.
    """

    home: str
    first: Collection[int]
    last: Collection[int]


def widths(params: Iterable[ParamInfo]) -> frozenset[int]:
    """Return the lengths of the first two dimensions of tensors, 1 left out."""
    return frozenset([size for param in params for size in param.shape[:2] if size > 1])


def is_token_or_table(own: str) -> bool:
    """Say whether a parameter is called like a token, or a table of positions, that is added to the input."""
    named = _IS_STEM.search(own) or _IS_PROBABLY_STEM.search(own) or _MAY_BE_STEM.search(own) or own.lower() == "cls"
    return bool(named) and _OF_A_LOSS.search(own) is None


def stem_of(before: Sequence[ParamInfo], after: Sequence[ParamInfo], trunk: Trunk) -> frozenset[str]:
    """Return the names of the parameters that take the input.

    A tensor that a head shares with an embedding takes the input, whichever name comes first.

    Args:
        before: The parameters before the trunk, in model order.
        after: The parameters after it. These take the input only where their names say so, such as ``patch_embed``.
        trunk: The trunk.
    """
    plain = [param.name for param in after if _is_named_stem(_module_beside(param.name, trunk.home) or param.name)]
    tied = [param.name for param in (*before, *after) if any(map(_IS_STEM.search, param.aliases))]
    return frozenset([*_before(before, trunk), *plain, *tied])


def other_towers(params: Sequence[ParamInfo], home: str) -> frozenset[str]:
    """Return the names of the parameters of other towers beside the trunk.

    Such a tower has numbered blocks, and takes an input itself.
    """
    return frozenset(
        [
            param.name
            for module, found in _modules(params, home)
            if module is not None and _holds_blocks(module, found)
            if any(_IS_STEM.search(p.name[len(module) :]) or "embedding" in p.kinds for p in found)
            for param in found
        ]
    )


_DEFINITE, _PROBABLE, _NONE = 2, 1, 0


def _before(params: Sequence[ParamInfo], trunk: Trunk) -> list[str]:
    """Return the names of the parameters before the trunk that take the input.

    The trunk is in a module, that one in another, and so on; each of them is a ring. Definite evidence counts in every
    ring. Probable evidence counts only in the innermost ring that has some, because the rings outside hold other parts
    of a larger model, such as the heads of a detector. Without any evidence, a convolution that gives the width of the
    trunk counts as probable. Norms between the stem and the trunk belong to the stem.
    """
    modules = _modules(params, trunk.home)
    evidence = [_NONE if module is None else _evidence(module, found, trunk) for module, found in modules]
    if not any(evidence):
        evidence = [_PROBABLE * (module is not None and _is_input_conv(module, f, trunk)) for module, f in modules]
    nearest = max([_ring(module) for (module, _), shown in zip(modules, evidence, strict=True) if shown], default=0)
    taken: list[str] = []
    seen: set[int] = set()  # the rings in which something takes the input
    for (module, found), shown in zip(modules, evidence, strict=True):
        if module is None:
            taken += [param.name for param in found if _is_added_to_input(param)]
            continue
        ring = _ring(module)
        shows = shown == _DEFINITE or (shown == _PROBABLE and ring == nearest)
        follows = bool(seen) and all("norm" in param.kinds for param in found)
        if shows or follows or (ring in seen and _continues(module, found, trunk)):
            taken += [param.name for param in found]
            seen.add(ring)
    return taken


def _evidence(module: str, params: Sequence[ParamInfo], trunk: Trunk) -> int:
    """Return how certain it is that a module before the trunk takes the input.

    A module with numbered blocks may be another tower, so only its name counts.
    """
    own = module.rpartition(".")[2]
    if _is_named_stem(module):
        return _DEFINITE
    sees_image, may_be = _sees_image(params, trunk), _MAY_BE_STEM.search(own) is not None
    if _holds_blocks(module, params):
        raw = sees_image or not _layers(params)
        return _DEFINITE if may_be and raw else _PROBABLE * (_IS_PROBABLY_STEM.search(own) is not None)
    if sees_image:
        return _DEFINITE
    if _IS_PROBABLY_STEM.search(own) or any("embedding" in param.kinds for param in params):
        return _PROBABLE
    if _layers(params):
        return _PROBABLE * (may_be and _brings_in(params, trunk))
    return _PROBABLE * (may_be and _GIVES_OUTPUT.search(own) is None)


def _is_named_stem(module: str) -> bool:
    return _IS_STEM.search(module.rpartition(".")[2]) is not None


def _sees_image(params: Sequence[ParamInfo], trunk: Trunk) -> bool:
    """Say whether the first layer is a convolution from the few channels of an image or a sound to more channels.

    The filters of a depthwise convolution see one channel too. One as wide as the output of the trunk is taken for
    depthwise.
    """
    return any(
        "conv" in layer.kinds
        and layer.shape[1] <= _RAW_CHANNELS < layer.shape[0]
        and not ("depthwise" in layer.kinds and layer.shape[0] in trunk.last)
        for layer in _layers(params)[:1]
    )


def _brings_in(params: Sequence[ParamInfo], trunk: Trunk) -> bool:
    """Say whether layers give the width of the trunk's first block, and do not take that of its last, as heads do."""
    layers = _layers(params)
    return bool(layers) and layers[-1].shape[0] in trunk.first and layers[0].shape[1] not in trunk.last


def _is_input_conv(module: str, params: Sequence[ParamInfo], trunk: Trunk) -> bool:
    """Say whether a module, whatever its name, has a convolution and gives the width that the trunk takes."""
    has_conv = any("conv" in param.kinds for param in params)
    return has_conv and not _holds_blocks(module, params) and _brings_in(params, trunk)


def _continues(module: str, params: Sequence[ParamInfo], trunk: Trunk) -> bool:
    """Say whether a module after a stem belongs to it: a second convolution, or a layer to the width of the trunk."""
    own, layers = module.rpartition(".")[2], _layers(params)
    if not layers or _GIVES_OUTPUT.search(own) or not _MAY_BE_STEM.search(own):
        return False
    is_numbered = own[-1].isdigit() and layers[-1].shape[0] in trunk.first
    is_conv = all("conv" in layer.kinds for layer in layers)
    return (is_conv and (is_numbered or layers[0].shape[1] not in trunk.last)) or _brings_in(params, trunk)


def _layers(params: Sequence[ParamInfo]) -> list[ParamInfo]:
    """Return the weights of linear layers and convolutions, whose first two dimensions are the widths out and in."""
    return [param for param in params if len(param.shape) > 1 and not param.kinds.isdisjoint(("linear", "conv"))]


def _is_added_to_input(param: ParamInfo) -> bool:
    """Say whether a parameter that is in no module beside the trunk is a token or a table of positions.

    It may also be a ``logit_scale``, the weights of a loss or the prototypes of classes.
    """
    own = param.name.rpartition(".")[2]
    if _IS_STEM.search(own) or not is_token_or_table(own):
        return _IS_STEM.search(own) is not None
    is_vector = sum(size > 1 for size in param.shape) <= 1
    return own.lower() == "cls" or is_vector or own.lower().endswith("token") or _GIVES_OUTPUT.search(own) is None


def _holds_blocks(module: str, params: Sequence[ParamInfo]) -> bool:
    below = [param.name[len(module) + 1 :] for param in params]
    cuts = [cut_at_number(name, digits_at_end) for name in below for digits_at_end in (False, True)]
    return any(len(numbers) > 1 for numbers in indices_of(cuts).values())


def _modules(params: Sequence[ParamInfo], home: str) -> list[tuple[str | None, list[ParamInfo]]]:
    """Group parameters by :func:`_module_beside`, in their order."""
    return [(module, list(found)) for module, found in groupby(params, lambda param: _module_beside(param.name, home))]


def _module_beside(name: str, home: str) -> str | None:
    """Return the outermost module that holds a parameter and not the trunk; None where there is no such module."""
    above, segments = home.split(".") if home else [], name.split(".")
    shared = 0
    while shared < min(len(above), len(segments) - 1) and above[shared] == segments[shared]:
        shared += 1
    return ".".join(segments[: shared + 1]) if shared + 1 < len(segments) else None


def _ring(module: str | None) -> int:
    """Return the number of the ring that a module is in: 0 is the model itself, higher numbers are further inside."""
    return 0 if module is None else module.count(".")
