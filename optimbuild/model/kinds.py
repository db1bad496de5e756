"""Kinds: what a parameter is (norm, bias, convolution …), with the evidence for a kind that is not certain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

Kind = Literal["norm", "bias", "embedding", "linear", "conv", "depthwise", "deformable"]
KINDS: tuple[str, ...] = get_args(Kind)
"""What a parameter can be; it may be several of them, or none."""

_NORM = re.compile(
    r"([Nn]orm(Gated)?(Act|Tlu)*(\d*[dD])?(Act|Tlu)?\d*|^EvoNorm\w*|"
    r"(^|[a-z\d])GRN|GlobalResponseNorm\w*)$"
)
_NORM_BASES = re.compile(r"^_?(Lazy)?(BatchNorm|InstanceNorm|SyncBatchNorm|LayerNorm|GroupNorm|RMSNorm|NormBase)")
_CONV = re.compile(r"^_?(Lazy)?Conv(Transpose)?(\d[dD]|Nd)$")
_DEPTHWISE = re.compile(r"^(Lazy)?Conv\d[dD]$")
_EMBEDDING = re.compile(r"Embedding(Bag)?$")
_DEFORMABLE = re.compile(r"Deform(able)?_?Conv|^DCN", re.IGNORECASE)
_LINEAR = re.compile(r"(Linear|^Dense)$|^Linear(8bitLt|4bit|NF4|FP4)$")
_BIAS = re.compile(r"(^|_|(?<=[a-z\d])(?=B))[bB]ias(es)?(_|\d|$|(?=[A-Z]))")
_BIAS_TABLE = re.compile(r"^rel(ative)?_pos(ition)?(_[a-z])?_bias$")
_SCALE_OF_NORM = re.compile(r"^(scales?|gains?|gamma|beta|alpha|shift|bias(es)?)$|_(scale|gain|bias)$")
"""What norms call their parameters; one of these has any shape."""


class Kinds(NamedTuple):
    """The kinds of a parameter.

    Args:
        kinds: Any of :data:`KINDS`.
        evidence: For each kind that is not certain, the evidence for it.
    """

    kinds: frozenset[str]
    evidence: Mapping[str, str]


@lru_cache(maxsize=1 << 16)
def kinds_of(
    role: str, owner: str, bases: tuple[str, ...], shape: tuple[int, ...] | None = None, one_channel: bool = False
) -> Kinds:
    """Return the kinds of a parameter.

    A class of ``torch.nn``, or one derived from it, is certain. Where only a name speaks for a kind, that is
    noted as evidence. A matrix in a class that is only called a norm is none of its scales.

    Args:
        role: What its owner calls it, such as ``weight`` or ``bias``.
        owner: Class name of the owning module.
        bases: The ``torch.nn`` ancestors of that class.
        shape: Its full shape; None where that is not known.
        one_channel: Whether each filter of the owner's weight sees one channel.

    >>> sorted(kinds_of("bias", "Conv2d", ("Conv2d",), (8,), one_channel=True).kinds)
    ['bias', 'conv', 'depthwise']
    >>> kinds_of("weight", "LlamaRMSNorm", ()).evidence
    {'norm': 'its class is called LlamaRMSNorm'}
    >>> kinds_of("weight", "Conv1D", (), (8, 24)).kinds  # of GPT-2: a linear layer with its weight transposed
    frozenset({'linear'})
    """
    kinds, evidence = _class_kinds(owner, bases)
    is_matrix = sum(size != 1 for size in shape or ()) > 1
    if "norm" in evidence and is_matrix and not _SCALE_OF_NORM.search(role):
        kinds, evidence = kinds - {"norm"}, {kind: why for kind, why in evidence.items() if kind != "norm"}
    if owner == "Conv1D" and not bases and len(shape or ()) <= 2:
        kinds = kinds - {"conv"} | {"linear"}
    if one_channel and "conv" in kinds and any(_DEPTHWISE.match(c) for c in (owner, *bases)):
        kinds |= {"depthwise"}
    if role == "bias":
        kinds |= {"bias"}
    elif _BIAS.search(role):
        kinds, evidence = kinds | {"bias"}, {**evidence, "bias": f"it is called {role}"}
    return Kinds(kinds, evidence)


def _class_kinds(owner: str, bases: tuple[str, ...]) -> Kinds:
    """Return the kinds that the class of an owner speaks for: by the classes of torch, or by its name alone."""
    certain = {
        "norm": any(_NORM_BASES.match(base) for base in bases),
        "embedding": any(_EMBEDDING.search(base) for base in bases) or _EMBEDDING.fullmatch(owner) is not None,
        "linear": not {"Linear", "LazyLinear"}.isdisjoint(bases) or owner == "Linear",
        "conv": any(_CONV.match(c) for c in (owner, *bases)),
    }
    called = {"norm": _NORM, "embedding": _EMBEDDING, "linear": _LINEAR, "deformable": _DEFORMABLE}
    by_name = [kind for kind, name in called.items() if not certain.get(kind) and name.search(owner)]
    if "norm" in by_name and any(certain.values()):  # a linear layer whose weight is normalized, say
        by_name.remove("norm")
    kinds = [*(kind for kind, holds in certain.items() if holds), *by_name]
    return Kinds(frozenset(kinds), dict.fromkeys(by_name, f"its class is called {owner}"))


def kinds_among(
    name: str, owner: str, bases: tuple[str, ...], shapes: Mapping[str, Sequence[int]], container: str = ""
) -> Kinds:
    """Return the kinds of a parameter of a model whose shapes are known, but whose modules are not there.

    Args:
        name: The parameter's name.
        owner: Class name of the owning module.
        bases: The ``torch.nn`` ancestors of that class.
        shapes: The full shapes of all parameters, by name.
        container: What the owner calls the container that holds it, if any.
    """
    module, dot, _ = name.rpartition(".")
    one_channel = sees_one_channel(shapes.get(f"{module}{dot}weight", ()))
    return kinds_of(role_of(name, owner, bases, container), owner, bases, tuple(shapes[name]), one_channel)


def sees_one_channel(weight_shape: Sequence[int]) -> bool:
    """Say whether each filter of a convolution's weight sees one channel.

    >>> sees_one_channel((64, 1, 3, 3)), sees_one_channel((64, 64, 3, 3)), sees_one_channel((64, 1))
    (True, False, False)
    """
    return len(weight_shape) > 2 and weight_shape[1] == 1


def role_of(name: str, owner: str = "", bases: Sequence[str] = (), container: str = "") -> str:
    """Return what the owner of a parameter calls it, whatever container is between them.

    A container gives its name to what it holds, but for a bias in a dictionary. Where it is not known, numbers show a
    list, and ``parametrizations`` a parametrization.

    An embedding has one table, so it is judged by what its own owner calls it; so is a linear layer that is a table of
    biases by relative position, as in LayoutLM.

    >>> role_of("conv.parametrizations.weight.original0"), role_of("experts.biases.3"), role_of("fc.bias")
    ('weight', 'biases', 'bias')
    >>> role_of("attn.relative_attention_bias.weight", "Embedding", ("Embedding",))
    'relative_attention_bias'
    >>> role_of("experts.w1", container="experts"), role_of("experts.w1_bias", container="experts")
    ('experts', 'w1_bias')
    """
    above, _, last = name.rpartition(".")
    if container:
        return last if _BIAS.search(last) else container
    if last == "weight" and "ias" not in above:
        return last  # nearly always
    if last != "weight" and not last.startswith("original") and not last.isdigit():
        return last
    container, _, module = above.rpartition(".")
    if last.startswith("original") and f".{container}".endswith(".parametrizations"):
        return module
    if last.isdigit() and module:
        return module
    if last == "weight" and "bias" in module.lower():
        is_table = _BIAS if "Embedding" in (owner, *bases) else _BIAS_TABLE if "Linear" in (owner, *bases) else None
        if is_table is not None and is_table.search(module):
            return module
    return last
