"""State that is spread over ranks, brought together on the one that wants it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from optimbuild.checkpoint.named_optimizer import Held, is_dtensor
from optimbuild.checkpoint.ranks import Ranks, lost
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown

State = dict[str, dict[str, Any]]


def gathered(held: Held, to_rank: int | None) -> State | None:
    """Return the whole state by name, copied to the CPU, on the rank that wants it; None on the others.

    A collective where the state is spread over ranks: one tensor at a time is on its way.

    Args:
        held: The optimizer.
        to_rank: The rank that gets it; None for every rank.

    Raises:
        CheckpointError: No such rank, or state that cannot be saved, on any rank.
    """
    if held.sharded:
        return _from_zero(held, to_rank)
    if held.distributed:
        return _from_dtensors(held, to_rank)
    return {name: {key: copied(value) for key, value in found.items()} for name, found in held.state().items()}


def copied(value: Any) -> Any:
    """Return a copy of a tensor on the CPU; a number is returned as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()


def chosen(ranks: Ranks, to_rank: int | None) -> bool:
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


def _from_dtensors(held: Held, to_rank: int | None) -> State | None:
    ranks = Ranks()
    mine, own = ranks.together(lambda: (chosen(ranks, to_rank), held.state()))
    state: State = {}
    for name, found in own.items():
        state[name] = {}
        for key, value in found.items():
            whole = value.full_tensor() if is_dtensor(value) else value  # every rank takes part
            if mine:
                state[name][key] = copied(whole)
    return state if mine else None


def _from_zero(held: Held, to_rank: int | None) -> State | None:
    ranks = Ranks(held.process_group)
    mine, own = ranks.together(lambda: (chosen(ranks, to_rank), held.state()))
    described = {name: {key: _described(value) for key, value in found.items()} for name, found in own.items()}
    state: State = {name: {} for name in held.params}
    device = _channel(held)
    for source, theirs in enumerate(ranks.exchange(described)):
        for name, key, value in ((name, key, value) for name, found in theirs.items() for key, value in found.items()):
            if isinstance(value, torch.Tensor):
                live = own[name][key] if source == ranks.rank else None
                try:
                    value = _sent(live, value, source, to_rank, ranks, device)
                except RuntimeError as error:
                    raise lost(error) from error
            if mine:
                state[name][key] = value
    return {name: found for name, found in state.items() if found} if mine else None


def _described(value: Any) -> Any:
    """Return a number as it is, and of a tensor its shape and dtype, without its data."""
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, torch.Tensor) else value


def _channel(held: Held) -> torch.device:
    """Return the device from which the process group can send: the CPU where it can."""
    if "cpu" in dist.get_backend_config(held.process_group):
        return torch.device("cpu")
    return next(iter(held.params.values())).device


def _sent(
    value: torch.Tensor | None,
    described: torch.Tensor,
    source: int,
    to_rank: int | None,
    ranks: Ranks,
    device: torch.device,
) -> torch.Tensor | None:
    """Bring one tensor from the rank that has it to the one that wants it; return a copy of it there."""
    wanted = to_rank is None or ranks.rank == to_rank
    if to_rank == source or ranks.size == 1:
        return copied(value) if wanted else None
    if value is None and not wanted:
        return None
    data = torch.empty_like(described, device=device) if value is None else value.detach().to(device).contiguous()
    flat = data.view(-1).view(torch.uint8)  # no backend has every dtype, all have bytes
    if flat.numel():
        sender = ranks.global_rank(source)
        if to_rank is None:
            dist.broadcast(flat, sender, group=ranks.group)
        elif value is None:
            dist.recv(flat, sender, group=ranks.group)
        else:
            dist.send(flat, ranks.global_rank(to_rank), group=ranks.group)
    return copied(data) if wanted else None
