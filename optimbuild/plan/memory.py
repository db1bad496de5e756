"""How much memory training takes on each rank: parameters, gradients and optimizer state, foreseen from a plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from optimbuild.errors import ConfigError, ModelError
from optimbuild.messages import counted, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.decision import Group
from optimbuild.plan.partition import partition
from optimbuild.registry import find_optimizer, origin
from optimbuild.registry.optimizer_type import OptimizerType, State

Sharding = Literal["zero", "fsdp2"] | None
HOW: Mapping[Sharding, str] = {
    "zero": "optimizer state sharded by ZeRO stage 1",
    "fsdp2": "parameters, gradients and optimizer state sharded by FSDP2",
    None: "optimizer state not sharded: every rank keeps all of it",
}
_BITS = re.compile(r"\d+")
SCALAR = 4
"""Bytes of a single float32 number."""
MAX_WORLD_SIZE = 100_000
"""The limit on the number of ranks."""


class ParamMemory(NamedTuple):
    """What one parameter takes on a rank that shares nothing, in bytes.

    Args:
        parameter: The parameter itself.
        gradient: Its gradient; 0 where it is frozen.
        state: The optimizer's state for it; 0 where it is frozen.
    """

    parameter: int
    gradient: int
    state: int


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
        sharding: ``zero``, where the optimizer state is sharded; ``fsdp2``, where parameters and gradients are
            as well; None where every rank holds everything.
    """

    ranks: tuple[RankMemory, ...]
    sharding: Sharding = None

    @property
    def how(self) -> str:
        """What is sharded, in words."""
        return HOW[self.sharding]

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
            "sharding": self.sharding,
            "ranks": [{**vars(rank), "total": rank.total} for rank in self.ranks],
            "largest": self.largest.rank,
            "smallest": self.smallest.rank,
        }

    def __str__(self) -> str:
        most, least = self.largest, self.smallest
        shares = [f"rank {end.rank} holds {end.share:.2%} of it" for end in (most, least)]
        state = _span(most, least, lambda rank: rank.state)
        rows = {
            "memory": f"of each of {counted(len(self.ranks), 'rank')}; {self.how}",
            "parameters": _span(most, least, lambda rank: rank.parameters),
            "gradients": _span(most, least, lambda rank: rank.gradients),
            "state": f"{state}; {shares[0]} (most), {shares[1]} (least)" if self.sharding else state,
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


def memory_of(model: Inventory, groups: Sequence[Group], world_size: int, *, zero: bool) -> Memory:
    """Return what every rank of a run holds.

    A model whose tensors are shards (``DTensor``) is taken to be sharded by FSDP2 over all ranks, whatever
    their number: along the first dimension.

    Args:
        model: The model's parameters.
        groups: The groups of a plan of it.
        world_size: The number of ranks, at least 1.
        zero: Whether the optimizer state is sharded.

    Raises:
        ConfigError: The world size is no whole number from 1, or the state of an optimizer cannot be foreseen.
    """
    _check(world_size)
    parameters, sizes, needed = _bytes(model, groups, lambda param: param)
    if model.sharded:
        shards = []
        for first, end in pairwise([*_changes_of_shards(model, world_size), world_size]):
            whole, grads, state = _bytes(model, groups, partial(_shard, model, first, world_size))
            shards += [(whole, sum(grads), sum(state))] * (end - first)
        return _memory(shards, sum(needed), "fsdp2")
    state = [sum(needed)] * world_size
    if zero:
        state = [0] * world_size
        for rank, count in zip(partition(sizes, state), needed, strict=True):
            state[rank] += count
    gradients = sum(sizes)
    held = [(parameters, gradients, mine) for mine in state]
    return _memory(held, sum(needed), "zero" if zero else None)


def memory_of_params(model: Inventory, groups: Sequence[Group]) -> list[ParamMemory]:
    """Return what every parameter takes on a rank that shares nothing, in model order.

    Args:
        model: The model's parameters.
        groups: The groups of a plan of it.

    Raises:
        ConfigError: The state of an optimizer cannot be foreseen.
    """
    _, _, needed = _bytes(model, groups, lambda param: param)
    state = dict(zip([name for group in groups for name in group.params], needed, strict=True))
    sizes = [(param.name, nbytes(param)) for param in model]
    return [ParamMemory(size, size if name in state else 0, state.get(name, 0)) for name, size in sizes]


def _bytes(
    model: Inventory, groups: Sequence[Group], part: Callable[[ParamInfo], ParamInfo]
) -> tuple[int, list[int], list[int]]:
    """Return the bytes of all parameters; of each gradient; and of the state for each, in the order of the groups.

    Args:
        model: The model's parameters.
        groups: The groups.
        part: Returns what a rank holds of a parameter.
    """
    members = [[part(model[name]) for name in group.params] for group in groups]
    sizes = [nbytes(param) for params in members for param in params]
    needed = [need for group, params in zip(groups, members, strict=True) for need in state_bytes(group, params)]
    return sum([nbytes(part(param)) for param in model]), sizes, needed


def _shard(model: Inventory, rank: int, world_size: int, param: ParamInfo) -> ParamInfo:
    """Return what FSDP2 leaves of a parameter on a rank: its share of the rows, as ``torch.chunk`` cuts them."""
    if param.name not in model.sharded or not param.shape:
        return param
    rows, *rest = param.shape
    each = -(-rows // world_size)
    return param._replace(shape=(max(0, min(each, rows - rank * each)), *rest))


def _changes_of_shards(model: Inventory, world_size: int) -> list[int]:
    """Return the ranks that hold something else than the rank before them, in order; rank 0 is the first."""
    rows = {param.shape[0] for param in model if param.name in model.sharded and param.shape and param.shape[0]}
    full = {count // -(-count // world_size) for count in rows}  # ranks that hold a full share of so many rows
    return sorted({0} | {rank for end in full for rank in (end, end + 1) if rank < world_size})


def _memory(held: Sequence[tuple[int, int, int]], whole: int, sharding: Sharding) -> Memory:
    """Return the figures of every rank: parameters, gradients and state, and the share in the whole state."""
    ranks = [
        RankMemory(rank, parameters, gradients, state, state / whole if whole else 0.0)
        for rank, (parameters, gradients, state) in enumerate(held)
    ]
    return Memory(tuple(ranks), sharding)


def _check(world_size: object) -> None:
    if isinstance(world_size, bool) or not isinstance(world_size, int) or world_size < 1:
        raise ConfigError(f"must be a whole number from 1, not {shown(world_size)}", "world_size")
    if world_size > MAX_WORLD_SIZE:
        raise ConfigError(f"must be at most {MAX_WORLD_SIZE}, not {shown(world_size)}", "world_size")


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
        ConfigError: The optimizer did not declare its state, and takes no step on a tensor like one of these; or what
            it declares is no state.
    """
    kind = find_optimizer(group.optimizer)
    if kind.state is not None:
        state = _declared(kind, group.options)
        return [state.copies * nbytes(param) + state.scalars * SCALAR for param in params]
    from optimbuild.plan.state_size import probed  # what declares nothing is a class of torch's world

    return [probed(kind, group.options, param.shape, param.dtype) for param in params]


def _declared(kind: OptimizerType, options: Mapping[str, Any]) -> State:
    """Return the state of one parameter as the optimizer's registration declares it.

    Raises:
        ConfigError: What was registered raises, or returns something else.
    """
    hint = f"`state=` of optimizer {kind.name!r} ({origin(kind)}) must return a State for given options"
    try:
        state = kind.state(options) if kind.state is not None else None
    except Exception as error:
        raise ConfigError(f"{hint}; it raised {type(error).__name__}: {shown(str(error), 200)}") from error
    if not isinstance(state, State):
        raise ConfigError(f"{hint}, such as State(copies=2, scalars=1), not {shown(state)}")
    return state
