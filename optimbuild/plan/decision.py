"""What a parameter gets, and the steps that led there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from optimbuild.model.param_info import ParamInfo
from optimbuild.registry.optimizer_type import Implementation

MEMBER = "optimizer"
"""The key of a group that says which of several optimizers steps it; groups of a single optimizer have no such key."""

_SCALARS = frozenset((float, int, bool, str, type(None)))


class Setting(NamedTuple):
    """What a parameter gets: nothing if it is frozen, else an optimizer and all of its options, marks included.

    Where a rule named a group for it, only parameters with the same name share one.
    """

    frozen: bool
    optimizer: str | None
    options: Mapping[str, Any] | None
    group: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """The key by which settings are equal; 1, 1.0 and True differ."""
        options = self.options or {}
        keys = sorted(options)
        values = list(map(options.__getitem__, keys))
        exact = [value if type(value) in _SCALARS else repr(value) for value in values]  # a list has no hash
        return (self.frozen, self.optimizer, self.group, *keys, *map(type, values), *exact)


FROZEN = Setting(True, None, None)
"""The setting of every frozen parameter."""


@dataclass(frozen=True)
class Step:
    """One edit that changed something: the rule, its reason, and the changed options before and after.

    Args:
        rule: The rule's name.
        why: Its reason.
        before: The changed options, as they were.
        after: The same options, as they became.
        position: The rule's place in the config, from 0.
        factors: The factors of the options that were multiplied.
    """

    rule: str
    why: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    position: int = 0
    factors: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        changes = ", ".join(f"{key}: {self.before.get(key)!r} → {value!r}" for key, value in self.after.items())
        return f"{self.rule}: {changes} ({self.why})"


@dataclass(frozen=True)
class Decision:
    """What one parameter gets.

    Args:
        param: The parameter.
        frozen: Whether it stays out of training.
        optimizer: The optimizer's name; None where it is frozen.
        options: All of its options, fixed ones too; None where it is frozen.
        group: The index of its group; None where it is frozen.
    """

    param: ParamInfo
    frozen: bool
    optimizer: str | None
    options: Mapping[str, Any] | None
    group: int | None

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.param.name

    @property
    def lr(self) -> float | None:
        """Its learning rate; None where it is frozen."""
        return None if self.options is None else self.options.get("lr")

    @property
    def weight_decay(self) -> float | None:
        """Its weight decay; None where it is frozen."""
        return None if self.options is None else self.options.get("weight_decay")


class Group(NamedTuple):
    """Parameters with the same optimizer and the same options.

    Args:
        optimizer: The optimizer's name.
        options: All of its options.
        params: The parameters' names, in model order.
        shapes: Their shapes.
        implementation: ``fused``, ``foreach`` or ``for-loop``.
        name: The name that a rule gave it; empty for a group of equal settings.
    """

    optimizer: str
    options: Mapping[str, Any]
    params: tuple[str, ...]
    shapes: Sequence[tuple[int, ...]]
    implementation: Implementation
    name: str = ""

    @property
    def numel(self) -> int:
        """How many elements they have together."""
        return sum(map(math.prod, self.shapes))
