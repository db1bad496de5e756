"""How much memory training takes on each rank: parameters, gradients and optimizer state, foreseen from a plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from optimbuild.errors import ConfigError, ModelError, shown
from optimbuild.params import ParamInfo
from optimbuild.registry import optimizer_type
from optimbuild.sharding import partition

if TYPE_CHECKING:
    from optimbuild.plan import Group, Plan

_BITS = re.compile(r"\d+")
SCALAR = 4
"""Bytes of a single float32 number."""


@dataclass(frozen=True)
class RankMemory:
    """What one rank holds, in bytes.

    Args:
        rank: The rank.
        parameters: All parameters, frozen ones too.
        gradients: The gradients of the parameters that are not frozen.
        state: The optimizer state that this rank keeps.
        share: The part of the model's whole optimizer state that this is, from 0 to 1.
    """

    rank: int
    parameters: int
    gradients: int
    state: int
    share: float

    @property
    def total(self) -> int:
        """All three together."""
        return self.parameters + self.gradients + self.state


@dataclass(frozen=True)
class Memory:
    """What every rank holds.

    Activations, buffers of the model and of the communication library (such as the gradient buckets of
    ``DistributedDataParallel``) are not in it: they depend on the run and not on the plan.

    Args:
        ranks: By rank.
        sharded: Whether the optimizer state is sharded, by ZeRO stage 1.
    """

    ranks: tuple[RankMemory, ...]
    sharded: bool

    @property
    def largest(self) -> RankMemory:
        """The rank that holds most; the first of several."""
        return max(self.ranks, key=lambda rank: rank.total)

    @property
    def smallest(self) -> RankMemory:
        """The rank that holds least; the first of several."""
        return min(self.ranks, key=lambda rank: rank.total)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON data."""
        return {
            "world_size": len(self.ranks),
            "sharded": self.sharded,
            "ranks": [{**asdict(rank), "total": rank.total} for rank in self.ranks],
            "largest": self.largest.rank,
            "smallest": self.smallest.rank,
        }

    def __str__(self) -> str:
        most, least = self.largest, self.smallest
        how = "sharded by ZeRO stage 1" if self.sharded else "not sharded: every rank keeps all of it"
        shares = [f"rank {end.rank} holds {end.share:.2%} of it" for end in (most, least)]
        state = _span(most, least, lambda rank: rank.state)
        rows = {
            "memory": f"of each of {len(self.ranks)} rank{'s' * (len(self.ranks) > 1)}; optimizer state {how}",
            "parameters": size(most.parameters),
            "gradients": size(most.gradients),
            "state": f"{state}; {shares[0]} (most), {shares[1]} (least)" if self.sharded else state,
            "together": _span(most, least, lambda rank: rank.total),
        }
        return "\n".join(f"{label:<13}{text}" for label, text in rows.items())


def _span(most: RankMemory, least: RankMemory, of: Callable[[RankMemory], int]) -> str:
    ends = dict.fromkeys([size(of(least)), size(of(most))])  # the same words are said once
    return " to ".join(ends)


def size(count: int) -> str:
    """Return a number of bytes for people.

    >>> size(330_000_000), size(100)
    ('314.7 MiB', '100 B')
    """
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def memory_of(plan: Plan, world_size: int) -> Memory:
    """Return what every rank of a run of this plan holds.

    Args:
        plan: The plan.
        world_size: The number of ranks, at least 1.

    Raises:
        ConfigError: The world size is no whole number from 1, or the state of an optimizer cannot be foreseen.
    """
    _check(world_size)
    parameters = sum([nbytes(param) for param in plan.inventory.params])
    # group by group, the order in which ZeRO sees them
    members = [[plan.inventory[name] for name in group.params] for group in plan.groups]
    sizes = [nbytes(param) for params in members for param in params]
    needed = [need for group, params in zip(plan.groups, members, strict=True) for need in state_bytes(group, params)]
    sharded, whole = plan.spec.sharding is not None, sum(needed)
    state = [0] * world_size if sharded else [whole] * world_size
    if sharded:
        for rank, count in zip(partition(sizes, [0] * world_size), needed, strict=True):
            state[rank] += count
    gradients = sum(sizes)
    return Memory(
        tuple(
            RankMemory(rank, parameters, gradients, held, held / whole if whole else 0.0)
            for rank, held in enumerate(state)
        ),
        sharded,
    )


def _check(world_size: object) -> None:
    if isinstance(world_size, bool) or not isinstance(world_size, int) or world_size < 1:
        raise ConfigError(f"must be a whole number from 1, not {shown(world_size)}", "world_size")


def nbytes(param: ParamInfo) -> int:
    """Return how many bytes a parameter takes.

    Raises:
        ModelError: Its dtype is of no known width.

    >>> nbytes(ParamInfo("fc.weight", (4, 4), dtype="bfloat16"))
    32
    """
    return param.numel * _itemsize(param.dtype, param.name)


@lru_cache(maxsize=256)
def _itemsize(dtype: str, name: str) -> int:
    if dtype == "bool":
        return 1
    bits = _BITS.search(dtype)
    if bits is None:
        raise ModelError(f"parameter {name!r} has dtype {shown(dtype)}, whose width is not known")
    return (int(bits[0]) + 7) // 8


def state_bytes(group: Group, params: Sequence[ParamInfo]) -> list[int]:
    """Return how many bytes of state the optimizer of a group keeps for each of its parameters.

    Args:
        group: The group.
        params: Its parameters.

    Raises:
        ConfigError: The optimizer did not declare its state, and takes no step on a tensor like one of these.
    """
    kind = optimizer_type(group.optimizer)
    if kind.state is not None:
        state = kind.state(group.options)
        return [state.copies * nbytes(param) + state.scalars * SCALAR for param in params]
    from optimbuild.state_probe import probed  # what declares nothing is a class of torch's world

    return [probed(kind, group.options, param.shape, param.dtype) for param in params]
