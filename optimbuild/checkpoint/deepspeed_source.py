"""Optimizer state from a checkpoint of DeepSpeed's ZeRO, stages 1 to 3, by parameter name."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from optimbuild.checkpoint.files import checked_path, path_text
from optimbuild.checkpoint.group_options import options_of
from optimbuild.checkpoint.layouts import VERSION
from optimbuild.checkpoint.safe_globals import allowed
from optimbuild.checkpoint.told import told_as
from optimbuild.errors import CheckpointError, MissingPackageError
from optimbuild.messages import counted, listing

_PARTS = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt")
_MODELS = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt")


def deepspeed_state(directory: str | os.PathLike[str], tag: str | None = None) -> dict[str, Any]:
    """Return the optimizer state of a checkpoint that ``engine.save_checkpoint`` of DeepSpeed wrote.

    The shards of all ranks are put together, so the state loads on any number of ranks, under ZeRO, FSDP2 or
    neither. DeepSpeed must be installed. Nothing but tensors and DeepSpeed's plain records is unpickled.

    Args:
        directory: The directory of the checkpoint.
        tag: Its tag, such as ``global_step100``; None reads the file ``latest``.

    Returns:
        State for :func:`~optimbuild.checkpoint.load_optimizer_state`.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged, or of a model that is parallel by itself.
        MissingPackageError: DeepSpeed is not installed.
    """
    home = checked_path(directory)
    folder = home / (_latest(home) if tag is None else tag)
    found = {int(match[1]): name for name in _content(folder) if (match := _PARTS.fullmatch(name))}
    models = [name for name in _MODELS if (folder / name).is_file()]
    if not found or sorted(found) != list(range(len(found))) or not models:
        raise CheckpointError(f"{path_text(folder)}: there are not all files of a checkpoint of DeepSpeed's ZeRO")
    loaded = {name: _loaded(folder / name) for name in (*found.values(), models[0])}
    with told_as(f"{path_text(folder)} is no checkpoint of DeepSpeed's ZeRO"):
        parts = [loaded[found[rank]]["optimizer_state_dict"] for rank in range(len(found))]
        shapes = loaded[models[0]]["param_shapes"]
        return _by_name(parts, shapes if isinstance(shapes, list) else [shapes])


def _latest(home: Path) -> str:
    """Return the tag that the file ``latest`` names."""
    try:
        return (home / "latest").read_text("utf-8").strip()
    except FileNotFoundError:
        tags = [name for name in _content(home) if any(map(_PARTS.fullmatch, _content(home / name)))]
        which = f"Give the tag of one: {listing(sorted(tags))}" if tags else "And no folder in it is a checkpoint"
        raise CheckpointError(f"{path_text(home)}: no file `latest` names the last checkpoint. {which}") from None
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path_text(home / 'latest')} cannot be read: {error}") from error


def _content(folder: Path) -> list[str]:
    """Return what is in a folder; of something else, nothing."""
    try:
        return os.listdir(folder)
    except NotADirectoryError:
        return []
    except OSError as error:
        raise CheckpointError(f"{path_text(folder)}: {error.strerror}") from error


def _loaded(path: Path) -> Any:
    try:
        from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
        from deepspeed.runtime.zero.config import ZeroStageEnum
        from deepspeed.utils.tensor_fragment import fragment_address
    except ImportError as error:
        raise MissingPackageError(
            f"a checkpoint of DeepSpeed holds objects of it, and it cannot be imported: {error}. Install it: "
            "pip install deepspeed"
        ) from error
    records = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
    with told_as(f"{path_text(path)} cannot be read"), allowed(records):
        return torch.load(path, map_location="cpu", weights_only=True)


def _by_name(parts: Sequence[Mapping[str, Any]], shapes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    third = int(parts[0]["zero_stage"]) == 3
    inner = [part["optimizer_state_dict" if third else "base_optimizer_state"] for part in parts]
    if (ranks := int(_first(parts[0]["partition_count"]))) != len(parts):
        raise CheckpointError(f"the checkpoint is of {counted(ranks, 'rank')}, and has {len(parts)}")
    state: dict[str, dict[str, Any]] = {}
    params: dict[str, Any] = {}
    for index, group in enumerate(shapes):
        flat = [each["state"].get(index, {}) for each in inner]
        options = options_of(inner[0]["param_groups"][index])
        fragments = _third(group, len(parts)) if third else _first_two(group, parts, index)
        for name, places in fragments:
            params[name] = options
            state[name] = {key: _joined(flat, key, places, group[name]) for key in flat[0]}
    return {"state": state, "params": params, "fingerprint": "", "version": VERSION}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


Places = list[tuple[int, int, int]]
"""Of the fragments of one parameter the rank, the start in its flat tensor, and the number of elements."""


def _first_two(
    group: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], index: int
) -> Iterator[tuple[str, Places]]:
    """Yield the fragments of stages 1 and 2: a group is one flat tensor, cut into equal pieces."""
    mappings = [part["param_slice_mappings"][index] for part in parts]
    for name in group:
        found = [(rank, mapping[name]) for rank, mapping in enumerate(mappings) if name in mapping]
        yield name, [(rank, address.start, address.numel) for rank, address in found]


def _third(group: Mapping[str, Any], ranks: int) -> Iterator[tuple[str, Places]]:
    """Yield the fragments of stage 3: each parameter is cut into equal pieces, the last one padded."""
    start = 0
    for name, shape in group.items():
        size = math.ceil(math.prod(shape) / ranks)
        yield name, [(rank, start, size) for rank in range(ranks)]
        start += size


def _joined(flat: Sequence[Mapping[str, Any]], key: str, places: Places, shape: Sequence[int]) -> Any:
    """Return one value of a parameter, put together from the ranks."""
    value = flat[0][key]
    if not isinstance(value, torch.Tensor) or value.ndim == 0:
        return value
    pieces = [flat[rank][key][start : start + count] for rank, start, count in places]
    return torch.cat(pieces)[: math.prod(shape)].view(tuple(shape)).clone()
