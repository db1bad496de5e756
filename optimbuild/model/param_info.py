"""One parameter, as much of it as a rule may look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

NOTHING: Mapping[str, Any] = {}
"""The marks and the evidence of nearly every parameter; never written to."""


class ParamInfo(NamedTuple):
    """One parameter, as much of it as a rule may look at.

    Args:
        name: Canonical name: the prefixes of wrappers (DDP, FSDP, compile, checkpoint) are removed.
        shape: The full shape, also where the tensor itself is a shard.
        dtype: Such as ``float32``.
        owner: Class name of the module that owns it; containers such as ``ParameterList`` and parametrizations do not
            count as owners.
        bases: That class's ``torch.nn`` ancestors, itself included where it is one; and ``package.Name`` for classes of
            other packages for which published constructors ask.
        kinds: Any of ``norm``, ``bias``, ``embedding``, ``linear``, ``conv``, ``depthwise``, ``deformable``.
        trainable: ``requires_grad`` before the build.
        aliases: Its other names, where modules share one tensor.
        marks: What the model's makers wrote on the tensor itself about its optimization, such as
            ``{"_no_weight_decay": True}``; plain data.
        evidence: For each kind that is not certain, what speaks for it.
        container: What the owner calls the list, dictionary or parametrization that holds the parameter for it; empty
            where there is none.

    >>> ParamInfo("head.bias", (10,), owner="Linear", bases=("Linear",)).numel
    10
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    owner: str = ""
    bases: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    trainable: bool = True
    aliases: tuple[str, ...] = ()
    marks: Mapping[str, Any] = NOTHING
    evidence: Mapping[str, str] = NOTHING
    container: str = ""

    def __hash__(self) -> int:
        return hash(self.name)  # marks and evidence are mappings

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def modules_of(param: ParamInfo) -> list[str]:
    """Return the names of the modules that hold a parameter: several where they share it, or are shared themselves.

    >>> modules_of(ParamInfo("bn1.weight", (2,), aliases=("bn2.weight",)))
    ['bn1', 'bn2']
    """
    return [name.rpartition(".")[0] for name in param.names]


def modules_around(name: str) -> list[str]:
    """Return the names of the modules that hold a parameter, outermost first; that of the model itself is empty.

    >>> modules_around("a.b.weight")
    ['', 'a', 'a.b']
    """
    return ["", *[name[:at] for at, letter in enumerate(name) if letter == "."]]
