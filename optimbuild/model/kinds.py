"""What a parameter is (norm, bias, convolution …), by its name, the class that owns it, and that one's weight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

KINDS = ("norm", "bias", "embedding", "linear", "conv", "depthwise", "deformable")
"""What a parameter can be; it may be several of them, or none."""

_NORM = re.compile(r"[Nn]orm(\d*[dD])?\d*$")
_NORM_BASES = re.compile(r"^_?(Lazy)?(BatchNorm|InstanceNorm|SyncBatchNorm|LayerNorm|GroupNorm|RMSNorm|NormBase)")
_CONV = re.compile(r"^_?(Lazy)?Conv(Transpose)?(\d[dD]|Nd)$")
_EMBEDDING = re.compile(r"Embedding(Bag)?$")
_DEFORMABLE = re.compile(r"Deform(able)?_?Conv|^DCN", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _owner_kinds(owner: str, bases: tuple[str, ...]) -> frozenset[str]:
    kinds = set()
    if _NORM.search(owner) or any(_NORM_BASES.match(base) for base in bases):
        kinds.add("norm")
    if any(_EMBEDDING.search(c) for c in (owner, *bases)):
        kinds.add("embedding")
    if "Linear" in (owner, *bases) or "LazyLinear" in bases:
        kinds.add("linear")
    if any(_CONV.match(c) for c in (owner, *bases)):
        kinds.add("conv")
    if _DEFORMABLE.search(owner):
        kinds.add("deformable")
    return frozenset(kinds)


_DEPTHWISE = re.compile(r"^(Lazy)?Conv\d[dD]$")


def kinds_of(
    name: str, owner: str, bases: tuple[str, ...], weight_shape: Sequence[int] | None = None
) -> frozenset[str]:
    """Return the kinds of a parameter, from its name, its owner and the shape of its owner's weight.

    Args:
        name: The parameter's name.
        owner: Class name of the owning module.
        bases: The ``torch.nn`` ancestors of that class.
        weight_shape: Shape of the owner's ``weight``, for a bias also; a convolution is
            depth-wise where each filter sees one channel, as MMEngine has it.

    >>> sorted(kinds_of("dw.bias", "Conv2d", ("Conv2d",), (64, 1, 3, 3)))
    ['bias', 'conv', 'depthwise']
    >>> sorted(kinds_of("ln.weight", "LlamaRMSNorm", ()))
    ['norm']
    """
    kinds = _owner_kinds(owner, bases)
    if name == "bias" or name.endswith(".bias"):
        kinds |= {"bias"}
    one_channel = weight_shape is not None and sees_one_channel(weight_shape)
    if one_channel and "conv" in kinds and any(_DEPTHWISE.match(c) for c in (owner, *bases)):
        kinds |= {"depthwise"}
    return kinds


def sees_one_channel(weight_shape: Sequence[int]) -> bool:
    """Say whether each filter of a convolution's weight sees one channel.

    >>> sees_one_channel((64, 1, 3, 3)), sees_one_channel((64, 64, 3, 3)), sees_one_channel((64, 1))
    (True, False, False)
    """
    return len(weight_shape) > 2 and weight_shape[1] == 1
