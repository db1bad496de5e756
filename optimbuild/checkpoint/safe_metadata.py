"""A check of the metadata of ``torch.distributed.checkpoint``: a pickle, which could run any code."""

from __future__ import annotations

import importlib
import math
import pickle
from pathlib import Path
from typing import Any

import torch

from optimbuild.checkpoint.files import open_regular, path_text
from optimbuild.checkpoint.manifest import Manifest, tensor_key
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown

_FUNCTIONS = frozenset((("torch.serialization", "_get_layout"), ("torch", "Size")))
_MODULES = frozenset(("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"))
_PATHS = frozenset(("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path"))


class _MetadataUnpickler(pickle.Unpickler):
    """Unpickles only the few types that the metadata of a save has."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class by its name, where it is one of these types."""
        if module in ("pathlib", "pathlib._local") and name in _PATHS:
            return super().find_class(module, name)
        if module in _MODULES:  # only what is defined there: no dotted path, nothing imported
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        elif (module, name) in _FUNCTIONS:
            return super().find_class(module, name)
        elif module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which no save has")


def read_metadata(path: Path) -> Any:
    """Return the metadata of a save, which has nothing but descriptions of tensors and of the files that they are in.

    Raises:
        CheckpointError: The file is no pickle, or would import or call something else.
    """
    try:
        with open_regular(path) as file:
            return _MetadataUnpickler(file).load()
    except Exception as error:  # a pickle may be wrong in any way
        why = shown(str(error), 200)
        raise CheckpointError(
            f"{path_text(path)} was altered or is not of a save: {why}. Nothing was loaded."
        ) from error


def compare_metadata(metadata: Any, manifest: Manifest) -> None:
    """Make sure that the metadata describes the tensors of a manifest, whole, in files whose checksums it has.

    Raises:
        CheckpointError: It does not.
    """
    try:
        wrong = _differences(metadata, manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wrong = [f"{type(error).__name__}: {shown(str(error), 200)}"]
    if wrong:
        raise CheckpointError(f"the metadata of the save is not of its manifest: {listing(wrong)}. Nothing was loaded.")


def _differences(metadata: Any, manifest: Manifest) -> list[str]:
    stored: dict[str, int] = {}
    wrong = []
    for index, info in metadata.storage_data.items():
        stored[index.fqn] = stored.get(index.fqn, 0) + 1
        if info.relative_path not in manifest.files:
            wrong.append(f"{shown(index.fqn)} is in {shown(info.relative_path)}, which has no checksum")
    known = {tensor_key(name, key) for name, found in manifest.tensors.items() for key in found}
    wrong += [f"{shown(fqn)} is not in the manifest" for fqn in metadata.state_dict_metadata if fqn not in known]
    for name, found in manifest.tensors.items():
        for key, (dtype, shape) in found.items():
            fqn = tensor_key(name, key)
            described = metadata.state_dict_metadata.get(fqn)
            if described is None:
                wrong.append(f"{shown(fqn)} is missing")
                continue
            is_same = list(described.size) == shape and described.properties.dtype is getattr(torch, dtype)
            chunks = [math.prod(chunk.sizes) for chunk in described.chunks]
            if not is_same or sum(chunks) != math.prod(shape) or stored.get(fqn) != len(chunks):
                wrong.append(f"{shown(fqn)} has another shape, dtype or number of parts")
    return wrong
