"""State that is spread over ranks, gathered on one rank or on all."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from optimbuild.checkpoint.named_optimizer import NamedOptimizer, is_dtensor
from optimbuild.checkpoint.ranks import Ranks, lost_ranks
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown

StateByName = dict[str, dict[str, Any]]


def gathered(named: NamedOptimizer, to_rank: int | None) -> StateByName | None:
    """Return the whole state by name, copied to the CPU, on the chosen rank; None on the others.

    A collective where the state is spread over ranks. Tensors are sent one at a time.

    Args:
        named: The optimizer.
        to_rank: The rank that gets it; None for every rank.

    Raises:
        CheckpointError: There is no such rank, or a rank has state that cannot be saved.
    """
    if named.is_zero:
        return _from_zero(named, to_rank)
    if named.has_dtensors:
        return _from_dtensors(named, to_rank)
    return {name: {key: copied(value) for key, value in found.items()} for name, found in named.state().items()}


def copied(value: Any) -> Any:
    """Return a copy of a tensor on the CPU; a number is returned as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()


def wants_state(ranks: Ranks, to_rank: int | None) -> bool:
    """Say whether this rank gets the state.

    Raises:
        CheckpointError: There is no such rank.
    """
    if to_rank is None:
        return True
    if type(to_rank) is not int or not 0 <= to_rank < ranks.size:
        what = f"a rank from 0 to {ranks.size - 1}, or None for all"
        raise CheckpointError(f"to_rank must be {what}, not {shown(to_rank)}")
    return to_rank == ranks.rank


def _from_dtensors(named: NamedOptimizer, to_rank: int | None) -> StateByName | None:
    ranks = Ranks()
    mine, own = ranks.together(lambda: (wants_state(ranks, to_rank), named.state()))
    state: StateByName = {}
    for name, found in own.items():
        state[name] = {}
        for key, value in found.items():
            whole = value.full_tensor() if is_dtensor(value) else value  # every rank takes part
            if mine:
                state[name][key] = copied(whole)
    return state if mine else None


def _from_zero(named: NamedOptimizer, to_rank: int | None) -> StateByName | None:
    ranks = Ranks(named.process_group)
    mine, own = ranks.together(lambda: (wants_state(ranks, to_rank), named.state()))
    described = {name: {key: _without_data(value) for key, value in found.items()} for name, found in own.items()}
    state: StateByName = {name: {} for name in named.params}
    device = _sending_device(named)
    for source, theirs in enumerate(ranks.exchange(described)):
        for name, key, value in ((name, key, value) for name, found in theirs.items() for key, value in found.items()):
            if isinstance(value, torch.Tensor):
                live = own[name][key] if source == ranks.rank else None
                try:
                    value = _sent_tensor(live, value, source, to_rank, ranks, device)
                except RuntimeError as error:
                    raise lost_ranks(error) from error
            if mine:
                state[name][key] = value
    return {name: found for name, found in state.items() if found} if mine else None


def _without_data(value: Any) -> Any:
    """Return a number itself, or a tensor of the same shape and dtype without data."""
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, torch.Tensor) else value


def _sending_device(named: NamedOptimizer) -> torch.device:
    """Return the device that the process group sends from: the CPU where its backend can."""
    if "cpu" in dist.get_backend_config(named.process_group):
        return torch.device("cpu")
    return next(iter(named.params.values())).device


def _sent_tensor(
    value: torch.Tensor | None,
    described: torch.Tensor,
    source: int,
    to_rank: int | None,
    ranks: Ranks,
    device: torch.device,
) -> torch.Tensor | None:
    """Send one tensor from the rank that has it to the chosen rank, and return a copy of it there."""
    wanted = to_rank is None or ranks.rank == to_rank
    if to_rank == source or ranks.size == 1:
        return copied(value) if wanted else None
    if value is None and not wanted:
        return None
    data = torch.empty_like(described, device=device) if value is None else value.detach().to(device).contiguous()
    flat = data.view(-1).view(torch.uint8)  # no backend can send every dtype, but all can send bytes
    if flat.numel():
        sender = ranks.global_rank(source)
        if to_rank is None:
            dist.broadcast(flat, sender, group=ranks.group)
        elif value is None:
            dist.recv(flat, sender, group=ranks.group)
        else:
            dist.send(flat, ranks.global_rank(to_rank), group=ranks.group)
    return copied(data) if wanted else None
