"""Kinds for routing parameters to optimizers: matrices, outputs, experts and routers, each with its evidence."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Literal, get_args

from optimbuild.model.kinds import Kind
from optimbuild.model.never_decayed import is_never_decayed
from optimbuild.model.param_info import ParamInfo, modules_of

RoutingKind = Literal["matrix", "output", "expert", "router"]
ROUTING_KINDS: tuple[str, ...] = get_args(RoutingKind)
"""What a parameter can be by its shape and its place in the model."""

AnyKind = Literal[Kind, RoutingKind]
ALL_KINDS: tuple[str, ...] = get_args(AnyKind)
"""All kinds: those of a parameter's own module, and those for routing."""

_HEAD = re.compile(
    r"(^|_)(heads?|classifier|logits|unembed(ding)?)$|^(fc_cls|embed_out|vocab_proj|qa_outputs|output_projection)$"
)
_TOP_HEAD = re.compile(r"^(fc|output|score|cls|linear|predictor|hidden2tag)$")
_WEIGHT = re.compile(r"(^|[._])(weights?|proj|projection|kernel|matrix|[wW]|[wW]\d+|[wW][qkvo]|lora_\w+)([._]|$|\d)")
_TABLE = re.compile(r"(^|_)(emb\w*|wte|token\w*|shared)$|embed")
_EXPERTS = re.compile(r"^(?!shared_)(\w+_)?experts?$")
_ROUTER = re.compile(r"(^|_)(gate|router|gating|wg)$")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")

RoutingKinds = Mapping[str, Mapping[str, str]]


def routing_kinds(params: Sequence[ParamInfo], outputs: Mapping[str, str]) -> RoutingKinds:
    """Return for each parameter its kinds for routing, each with the evidence for it.

    A matrix has two dimensions, both longer than 1, and is what a layer multiplies with: the weight of a linear layer,
    or a parameter that is called one, such as ``in_proj_weight``; no embedding, norm or bias, no table of tokens or
    positions, and nothing that several experts share. Experts are below a module of that name; a router is beside
    them. An output is what the model itself names, a tensor tied to an embedding, and a module with the name of a head
    outside of all numbered blocks; where there is none of these, the last linear layer, unless another layer has its
    shape under the same name but for numbers.

    Args:
        params: The parameters in model order.
        outputs: By parameter name which method of the model names it as an output.

    >>> params = [ParamInfo(f"{name}.weight", (8, 4), kinds=frozenset({"linear"})) for name in ("blocks.0.fc", "head")]
    >>> {name: sorted(kinds) for name, kinds in routing_kinds(params, {}).items()}
    {'blocks.0.fc.weight': ['matrix'], 'head.weight': ['matrix', 'output']}
    """
    found: dict[str, dict[str, str]] = {param.name: {} for param in params}
    counts = _numbers_of_experts(params)
    for param in params:
        kinds = found[param.name]
        if is_matrix(param):
            kinds["matrix"] = f"its shape is {param.shape}"
        if _experts_above(param.name) is not None:
            kinds["expert"] = "it is below a module of experts"
        elif counts and (why := _why_router(param, counts)):
            kinds["router"] = why
    for name, why in _outputs(params, outputs).items():
        found[name]["output"] = why
    return found


def is_matrix(param: ParamInfo) -> bool:
    """Say whether a parameter is a matrix that a layer multiplies with.

    A parameter that is of no linear layer must be called a weight, a projection or the like. Two-dimensional tensors
    that experts share are none: rows of several experts are no matrix of one.

    >>> is_matrix(ParamInfo("attn.in_proj_weight", (12, 4))), is_matrix(ParamInfo("pos_embed", (197, 768)))
    (True, False)
    """
    if len(param.shape) != 2 or min(param.shape) < 2:
        return False
    if not param.kinds.isdisjoint(("embedding", "norm", "bias")):
        return False
    if "linear" in param.kinds:
        return True
    above = _experts_above(param.name)
    shared = above is not None and not _NUMBER.search(param.name[len(above) :])
    return not shared and _WEIGHT.search(param.name) is not None and not is_never_decayed(param)


def _experts_above(name: str) -> str | None:
    """Return the module of experts that a parameter is below; None where there is none."""
    segments = name.split(".")
    for place, segment in enumerate(segments[:-1]):
        if _EXPERTS.match(segment):
            return ".".join(segments[: place + 1])
    return None


def _numbers_of_experts(params: Sequence[ParamInfo]) -> dict[str, int]:
    """Return how many experts there are below each module that has some: by their numbers, or a stacked tensor."""
    counts: dict[str, int] = {}
    for param in params:
        module = _experts_above(param.name)
        if module is None:
            continue
        above, segment = module.rpartition(".")[0], param.name[len(module) + 1 :].partition(".")[0]
        count = int(segment) + 1 if segment.isdigit() else param.shape[0] if len(param.shape) > 2 else 0
        counts[above] = max(counts.get(above, 0), count)
    return counts


def _why_router(param: ParamInfo, counts: Mapping[str, int]) -> str:
    segments = param.name.split(".")
    for place in range(len(segments)):
        above = ".".join(segments[:place])
        if above in counts and _ROUTER.search(segments[place]):
            size = param.shape[0] if param.shape else 0
            if size in (1, counts[above]) or not counts[above]:
                return f"it is called {segments[place]}, beside {counts[above] or 'the'} experts"
    return ""


def _outputs(params: Sequence[ParamInfo], named: Mapping[str, str]) -> dict[str, str]:
    found = {name: f"{method} names it" for name, method in named.items()}
    for param in params:
        if why := _why_tied(param) or _why_classifier(param):
            found.setdefault(param.name, why)
    found = {**_heads(params, found), **found}
    modules = {module for param in params if param.name in found for module in modules_of(param)}
    for param in params:
        module = param.name.rpartition(".")[0]
        if module in modules and "bias" in param.kinds:
            found.setdefault(param.name, f"the bias of the output {module}")
    return found or _last_linear(params)


def _heads(params: Sequence[ParamInfo], known: Collection[str]) -> dict[str, str]:
    """Return the linear layers of heads: of a head of several, those that read what its last one reads.

    Names such as ``fc`` and ``output`` are also those of inner layers, so they count at the top of the model only.
    A layer that gives what a known output beside it reads leads to it, and is none itself, as in the head of BERT.
    """
    top = _common_prefix([param.name for param in params])
    read = _widths_read(params, known, top)
    layers: dict[str, list[ParamInfo]] = {}
    for param in params:
        leads = any(param.name.startswith(f"{module}.") and param.shape[:1] == (width,) for module, width in read)
        if "linear" in param.kinds and "bias" not in param.kinds and not leads:
            layers.setdefault(_head_above(param.name, top), []).append(param)
    layers.pop("", None)
    found: dict[str, str] = {}
    for head, weights in layers.items():
        last = weights[-1].shape[-1:]
        found |= {w.name: f"its module is called {head.rpartition('.')[2]}" for w in weights if w.shape[-1:] == last}
    return found


def _widths_read(params: Sequence[ParamInfo], known: Collection[str], top: str) -> set[tuple[str, int]]:
    """Return the modules of heads that hold a known output, each with the width that the output reads."""
    weights = [param for param in params if param.name in known and len(param.shape) > 1]
    pairs = [(_above(name), param.shape[1]) for param in weights for name in param.names]
    return {(module, width) for module, width in pairs if _head_above(f"{module}.", top)}


def _why_classifier(param: ParamInfo) -> str:
    is_classifier = "conv" in param.kinds and _module(param.name) == "classifier"
    return "its module is a convolution that is called classifier" if is_classifier else ""


def _above(name: str) -> str:
    """Return the module that holds the module of a parameter."""
    return name.rpartition(".")[0].rpartition(".")[0]


def _head_above(name: str, top: str) -> str:
    """Return the module with the name of a head that a parameter is in, outside of numbered blocks; empty for none."""
    segments = name.split(".")[:-1]
    for place, segment in enumerate(segments):
        if segment.isdigit():
            return ""
        path = ".".join(segments[: place + 1])
        if _HEAD.search(segment) or (_TOP_HEAD.match(segment) and path == f"{top}{segment}"):
            return path
    return ""


def _common_prefix(names: Sequence[str]) -> str:
    """Return the module that all parameters are in, with its dot; empty where there is none."""
    modules = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda segments: len(set(segments)) == 1, zip(*modules, strict=False))
    return "".join(f"{segment}." for segment, *_ in shared)


def _why_tied(param: ParamInfo) -> str:
    if not param.aliases:
        return ""
    tables = [name for name in param.names if _TABLE.search(_module(name))]
    others = [name for name in param.names if name not in tables]
    if others and (tables or "embedding" in param.kinds):
        return f"it is tied to an embedding: {', '.join(param.names)}"
    return ""


def _module(name: str) -> str:
    return name.rpartition(".")[0].rpartition(".")[2] or name


def _last_linear(params: Sequence[ParamInfo]) -> dict[str, str]:
    """Return the last linear layer, where no other has its shape under the same name but for numbers.

    Layers before it in the same module whose names end in the same word belong to it: the projections of CLIP.
    """
    linear = [param for param in params if "linear" in param.kinds and len(param.shape) == 2]
    if not linear:
        return {}
    forms = [(_NUMBER.sub("*", param.name), param.shape) for param in linear]
    if forms.count(forms[-1]) > 1:
        return {}
    last = linear[-1].name.rpartition(".")[0]
    above, word = last.rpartition(".")[0], _last_word(last)
    modules = {last}
    for param in reversed(linear[:-1]):
        module = param.name.rpartition(".")[0]
        if not word or module.rpartition(".")[0] != above or _last_word(module) != word:
            break
        modules.add(module)
    return {param.name: "the last linear layer" for param in params if param.name.rpartition(".")[0] in modules}


def _last_word(module: str) -> str:
    """Return the last of several words in a module's own name; empty where it is one word."""
    first, _, word = module.rpartition(".")[2].rpartition("_")
    return word if first else ""
