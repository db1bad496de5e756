"""Optimizer state in the checkpoints of torch, Trainer, Lightning, MMEngine, DeepSpeed and DCP."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from optimbuild.checkpoint import deepspeed_state
from optimbuild.checkpoint.files import checked_path, open_regular, path_text
from optimbuild.checkpoint.manifest import MANIFEST_FILE, METADATA, Manifest
from optimbuild.checkpoint.safe_globals import allowed
from optimbuild.checkpoint.safe_metadata import read_metadata
from optimbuild.checkpoint.told import told_as
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown

IN_FOLDERS = ("optimizer.pt", "optimizer.bin", "optimizer.pth")
"""The files in which trainers keep an optimizer's state beside the weights."""

DEEPEST = 3
"""So many mappings may be around the state in a file."""


def optimizer_states(path: str | os.PathLike[str], *, trust: bool = False) -> dict[str, Mapping[str, Any]]:
    """Return the optimizer state that a checkpoint holds, by its place there; the place of a single one is empty.

    Args:
        path: A file that torch wrote, whoever called it (Lightning's ``.ckpt``, MMEngine's ``.pth``), or the folder
            of a Trainer, of accelerate, of DeepSpeed, of :func:`optimbuild.checkpoint.save` or of torch's DCP.
        trust: Unpickle whatever the file holds, which may run any code.

    Raises:
        CheckpointError: There is no such file, it cannot be read safely, or holds no optimizer's state.
    """
    given = checked_path(path)
    with told_as(f"{path_text(given)} cannot be read"):
        found = _in_folder(given, trust) if given.is_dir() else dict(_states(_loaded(given, trust), ""))
    if not found:
        raise CheckpointError(f"{path_text(given)} holds no optimizer's state: no entry has `state` and `param_groups`")
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _in_folder(folder: Path, trust: bool) -> dict[str, Mapping[str, Any]]:
    inside = sorted(os.listdir(folder))
    if MANIFEST_FILE in inside:
        return {"": Manifest.read(folder).state()}
    for name in IN_FOLDERS:
        if name in inside:
            return optimizer_states(folder / name, trust=trust)
    if METADATA in inside:
        return _in_dcp(folder)
    if "latest" in inside:
        return {"": deepspeed_state(folder)}
    wanted = listing([MANIFEST_FILE, *IN_FOLDERS, METADATA, "latest"])
    raise CheckpointError(
        f"{path_text(folder)}: no optimizer's state is here. Looked for {wanted}; there is "
        f"{listing([shown(name) for name in inside], 10) or 'nothing'}"
    )


def _loaded(path: Path, trust: bool) -> Any:
    """Return what a file holds; its tensors stay on the disk where its form allows."""
    if not path.is_file():
        raise CheckpointError(f"{path_text(path)}: no such file or folder")
    for mapped in (True, False):
        try:
            with allowed([] if trust else _harmless()):
                return torch.load(path, map_location="cpu", mmap=mapped, weights_only=not trust)
        except pickle.UnpicklingError as error:
            if "GLOBAL " not in str(error):
                raise _no_checkpoint(path) from None
            raise CheckpointError(
                f"{path_text(path)} holds more than tensors and plain data, which could run any code: "
                f"{_culprit(str(error))}. --trust reads it all the same, if it is yours"
            ) from None
        except (EOFError, LookupError, ValueError, struct.error) as error:  # how unpickling what is none ends
            raise _no_checkpoint(path) from error
        except RuntimeError:
            if not mapped:
                raise
    raise AssertionError  # the loop returns or raises


def _no_checkpoint(path: Path) -> CheckpointError:
    return CheckpointError(f"{path_text(path)} is no file that torch wrote, or it is damaged")


def _culprit(message: str) -> str:
    """Return which function or class torch refuses to unpickle."""
    named = re.search(r"GLOBAL (\S+)", message)
    return shown(named[1] if named else message, 200)


def _harmless() -> list[Any]:
    """Return the types of plain data that trainers keep beside the state: numpy's arrays, and MMEngine's histories."""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core: Any = getattr(np, "_core", None) or np.core
    numbers = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "uint8", "bool")]
    arrays = [np.ndarray, np.dtype, *numbers, core.multiarray._reconstruct, core.multiarray.scalar]
    return [*arrays, HistoryBuffer, (_nothing, "builtins.getattr")]  # by which a history names its own methods


def _nothing(*_: Any) -> None:
    """Stand for a function in a pickle that must not be called."""


def _states(data: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what is an optimizer's state, by its place."""
    if _is_state(data):
        yield place, data
    elif depth < DEEPEST and isinstance(data, (Mapping, list, tuple)):
        for key, value in data.items() if isinstance(data, Mapping) else enumerate(data):
            yield from _states(value, f"{place}.{key}" if place else str(key), depth + 1)


def _is_state(data: Any) -> bool:
    if not isinstance(data, Mapping) or not data:
        return False
    if isinstance(data.get("state"), Mapping):
        return isinstance(data.get("param_groups"), (list, tuple)) or isinstance(data.get("params"), Mapping)
    return all(isinstance(key, str) and key.startswith(("state.", "param_groups.")) for key in data)


def _in_dcp(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return what a folder of torch's DCP holds of optimizers; tensors have no data.

    What is no tensor, such as the options, is read from its place; the metadata says where, and is read safely.
    """
    metadata = read_metadata(folder / METADATA)
    tree: dict[Any, Any] = {}
    for key, described in metadata.state_dict_metadata.items():
        *above, last = (metadata.planner_data or {}).get(key, (key,))
        size = getattr(described, "size", None)
        inside = tree
        for part in above:
            inside = inside.setdefault(part, {})
        if size is None:
            inside[last] = _object_of_dcp(folder, metadata, key)
        else:
            inside[last] = torch.empty(size, dtype=described.properties.dtype, device="meta")
    return dict(_states(_with_lists(tree), ""))


def _with_lists(tree: Any) -> Any:
    """Return nested mappings with those whose keys are indices as lists."""
    if not isinstance(tree, dict):
        return tree
    found = {key: _with_lists(value) for key, value in tree.items()}
    is_list = found and all(isinstance(key, int) for key in found) and sorted(found) == list(range(len(found)))
    return [found[i] for i in range(len(found))] if is_list else found


def _object_of_dcp(folder: Path, metadata: Any, key: str) -> Any:
    """Return one value that is no tensor."""
    place = next(info for index, info in metadata.storage_data.items() if index.fqn == key)
    with open_regular(folder / Path(place.relative_path).name) as file:
        file.seek(place.offset)
        return torch.load(io.BytesIO(file.read(place.length)), map_location="cpu", weights_only=True)
