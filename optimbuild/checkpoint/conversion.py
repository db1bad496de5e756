"""Saved values on the device, and in the dtype and memory layout, that the optimizer needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from optimbuild.checkpoint.named_optimizer import is_dtensor
from optimbuild.checkpoint.state_entries import Entries, StateEntry, is_nested
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown


def converted_entries(values: Mapping[str, Any], expected: Entries | None, param: torch.Tensor) -> dict[str, Any]:
    """Return all that is kept for a parameter, ready for the optimizer.

    Args:
        values: The saved values by key.
        expected: What the optimizer keeps; None where that is not known.
        param: The parameter.

    Raises:
        CheckpointError: As :func:`converted`.
    """
    if expected is None:
        return {key: converted(value, None, param) for key, value in values.items()}
    device, stride, is_plain = param.device, param.stride(), not is_dtensor(param)
    found = {}
    for key, entry in expected.items():
        value = values[key]
        if type(value) is torch.Tensor and not value.requires_grad:  # nearly always, and ready nearly always
            if entry.kind == "like":
                is_ready = is_plain and value.device == device and value.stride() == stride and _is_whole(value)
            else:
                is_ready = value.dtype is entry.dtype and value.device == entry.device and value.ndim == 0
            if is_ready:
                found[key] = value
                continue
        found[key] = converted(value, entry, param)
    return found


def _is_whole(value: torch.Tensor) -> bool:
    """Say whether a tensor is all of its storage, and not a part of something larger."""
    return value.untyped_storage().nbytes() == value.nbytes


def converted(value: Any, entry: StateEntry | None, param: torch.Tensor) -> Any:
    """Return a saved value, ready for the optimizer.

    A tensor that is right already is returned itself, so loading needs no second copy of the state.

    Args:
        value: A tensor or a number that :func:`~optimbuild.checkpoint.matching.mismatch` finds nothing wrong with.
        entry: What the optimizer keeps; None where that is not known.
        param: The parameter.

    Raises:
        CheckpointError: The dtype in which the optimizer keeps a number cannot hold it exactly.
    """
    if isinstance(value, torch.Tensor) and value.is_meta and not param.is_meta:
        raise CheckpointError(f"a saved tensor of shape {tuple(value.shape)} has no data; nothing was loaded")
    if is_nested(value):
        return _nested(value, param)
    if entry is not None and entry.kind == "free":
        entry = None
    if entry is not None and entry.kind in ("scalar", "number"):
        return _number(value, entry)
    if not isinstance(value, torch.Tensor):
        return value
    if entry is None and value.shape != param.shape:
        return _without_grad(value) if value.ndim == 0 else _without_grad(value).to(param.device)
    if is_dtensor(param) or is_dtensor(value):
        return _distributed(value, param) if value.shape == param.shape else value
    if entry is not None and entry.kind == "other":
        return _without_grad(value).to(entry.device)
    alike = value.device == param.device and value.stride() == param.stride()
    if alike and not value.requires_grad and _is_whole(value):
        return value
    # Fused kernels go through parameter and state side by side, so both need the same memory layout.
    # And a view of a larger storage may share it with tensors of somebody else.
    return torch.empty_like(param, dtype=value.dtype, requires_grad=False).copy_(value.detach())


def _nested(value: Any, param: torch.Tensor) -> Any:
    """Return nested state with copies of its tensors, on the device of its parameter."""
    if isinstance(value, Mapping):
        return {key: _nested(item, param) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_nested(item, param) for item in value])
    if isinstance(value, torch.Tensor):
        return value.detach().to(param.device, copy=True)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f"{shown(value)} was saved inside a list or mapping, and is neither tensor nor number")


def _without_grad(value: torch.Tensor) -> torch.Tensor:
    """Return the tensor itself, or a copy without gradient: a view would hide from the first step who else holds it."""
    return value.detach().clone() if value.requires_grad else value


def _number(value: Any, entry: StateEntry) -> Any:
    """Return a single number in the type in which the optimizer keeps it, where that changes nothing about it."""
    if entry.kind == "number":
        return value.item() if isinstance(value, torch.Tensor) else value
    if isinstance(value, torch.Tensor):
        if value.ndim == 0 and value.dtype == entry.dtype and value.device == entry.device:
            return _without_grad(value)
        value = value.detach().reshape(()).to("cpu")
    else:
        value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    exact = value.to(entry.dtype)
    if exact.to(value.dtype) != value and value == value:  # NaN does not equal itself
        number = shown(value.item())
        raise CheckpointError(
            f"{number} was saved as a single number, which {entry.dtype} cannot hold; nothing was loaded"
        )
    return exact.to(entry.device)


def _distributed(value: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """Return a value whole where the parameter is a plain tensor, else spread over the ranks like the parameter."""
    from torch.distributed.tensor import DTensor, Replicate

    if not isinstance(param, DTensor):
        return _without_grad(_whole(value)).to(param.device)
    if isinstance(value, DTensor) and (value.device_mesh, value.placements) == (param.device_mesh, param.placements):
        return _without_grad(value)
    whole = _without_grad(_whole(value)).to(param.device)
    everywhere = DTensor.from_local(whole, param.device_mesh, [Replicate()] * param.device_mesh.ndim, run_check=False)
    shard: DTensor = everywhere.redistribute(param.device_mesh, param.placements)  # each rank cuts out its own part
    mine = shard.to_local().untyped_storage()
    return shard.clone() if mine.data_ptr() == whole.untyped_storage().data_ptr() else shard


def _whole(value: Any) -> torch.Tensor:
    whole: torch.Tensor = value.full_tensor() if is_dtensor(value) else value
    return whole
