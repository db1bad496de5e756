"""One parameter, as much of it as a rule may look at."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """One parameter, as much of it as a rule may look at.

    Args:
        name: Canonical name: the prefixes of wrappers (DDP, FSDP, compile, checkpoint) are removed.
        shape: The full shape, also where the tensor itself is a shard.
        dtype: Such as ``float32``.
        owner: Class name of the module that owns it.
        bases: That class's ``torch.nn`` ancestors, itself included where it is one.
        kinds: Any of ``norm``, ``bias``, ``embedding``, ``linear``, ``conv``, ``depthwise``, ``deformable``.
        trainable: ``requires_grad`` before the build.
        aliases: Its other names, where modules share one tensor.

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

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)
