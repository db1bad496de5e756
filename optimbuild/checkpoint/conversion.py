"""Saved values as the optimizer needs them: the right device, dtype and memory layout."""

from __future__ import annotations

from typing import Any

import torch

from optimbuild.checkpoint.named_optimizer import is_dtensor
from optimbuild.checkpoint.state_entries import Entry
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown


def placed(value: Any, entry: Entry | None, param: torch.Tensor) -> Any:
    """Return a saved value, ready for the optimizer.

    A tensor that is right already is taken as it is, so loading needs no second copy of the state.

    Args:
        value: A tensor or a number that :func:`~optimbuild.checkpoint.matching.misfit` let through.
        entry: What the optimizer expects; None where nobody knows.
        param: The parameter.

    Raises:
        CheckpointError: A number cannot be held exactly by the type that the optimizer keeps it in.
    """
    if entry is not None and entry.kind in ("scalar", "number"):
        return _number(value, entry)
    if not isinstance(value, torch.Tensor):
        return value
    if entry is None and value.shape != param.shape:
        return _own(value) if value.ndim == 0 else _own(value).to(param.device)
    if is_dtensor(param) or is_dtensor(value):
        return _distributed(value, param) if value.shape == param.shape else value
    if entry is not None and entry.kind == "other":
        return _own(value).to(entry.device)
    alike = value.device == param.device and value.stride() == param.stride()
    if alike and not value.requires_grad and value.untyped_storage().nbytes() == value.nbytes:
        return value
    # Fused kernels walk through parameter and state side by side, so both must lie in memory alike.
    # And a part of a larger storage may be anybody's, which only its owner knows.
    return torch.empty_like(param, dtype=value.dtype, requires_grad=False).copy_(value)


def _own(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor itself: another view of its data would hide from the first step that somebody holds it."""
    return value.detach().clone() if value.requires_grad else value


def _number(value: Any, entry: Entry) -> Any:
    """Return a single number as the optimizer keeps it: a step count that changed on the way would be wrong."""
    if entry.kind == "number":
        return value.item() if isinstance(value, torch.Tensor) else value
    if isinstance(value, torch.Tensor):
        if value.ndim == 0 and value.dtype == entry.dtype and value.device == entry.device:
            return _own(value)
        value = value.detach().reshape(()).to("cpu")
    else:
        value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    exact = value.to(entry.dtype)
    if exact.to(value.dtype) != value and value == value:  # NaN equals nothing
        number = shown(value.item())
        raise CheckpointError(
            f"{number} was saved as a single number, which {entry.dtype} cannot hold; nothing was loaded"
        )
    return exact.to(entry.device)


def _distributed(value: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """Return a value as the parameter is: whole, or spread over the ranks as the parameter is."""
    from torch.distributed.tensor import DTensor, Replicate

    if not isinstance(param, DTensor):
        return _own(_whole(value)).to(param.device)
    if isinstance(value, DTensor) and (value.device_mesh, value.placements) == (param.device_mesh, param.placements):
        return _own(value)
    whole = _own(_whole(value)).to(param.device)
    everywhere = DTensor.from_local(whole, param.device_mesh, [Replicate()] * param.device_mesh.ndim, run_check=False)
    shard: DTensor = everywhere.redistribute(param.device_mesh, param.placements)  # each rank cuts out its own
    mine = shard.to_local().untyped_storage()
    return shard.clone() if mine.data_ptr() == whole.untyped_storage().data_ptr() else shard


def _whole(value: Any) -> torch.Tensor:
    whole: torch.Tensor = value.full_tensor() if is_dtensor(value) else value
    return whole
