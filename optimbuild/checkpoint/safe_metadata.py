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
    wrong = _unplaced(metadata, manifest)
    stored = {(index.fqn, tuple(index.offset or ())) for index in metadata.storage_data}
    described = dict(metadata.state_dict_metadata)
    for name, found in manifest.tensors.items():
        for key, (dtype, shape) in found.items():
            fqn = tensor_key(name, key)
            tensor = described.pop(fqn, None)
            if tensor is None:
                wrong.append(f"{shown(fqn)} is missing")
                continue
            is_same = list(tensor.size) == shape and tensor.properties.dtype is getattr(torch, dtype)
            places = {(fqn, tuple(chunk.offsets)) for chunk in tensor.chunks}
            if not is_same or not _is_tiled(shape, tensor.chunks) or not places <= stored:
                wrong.append(f"{shown(fqn)} has another shape, dtype or number of parts")
            stored -= places
    wrong += [f"{shown(fqn)} is not in the manifest" for fqn in [*described, *sorted({fqn for fqn, _ in stored})]]
    return wrong


def _unplaced(metadata: Any, manifest: Manifest) -> list[str]:
    """Return the parts that are in no file of the manifest, beyond its end, or where another part is."""
    wrong = []
    ends: dict[str, int] = {}
    for index, info in sorted(metadata.storage_data.items(), key=lambda item: (item[1].relative_path, item[1].offset)):
        file = info.relative_path
        if file not in manifest.files:
            wrong.append(f"{shown(index.fqn)} is in {shown(file)}, which has no checksum")
        elif not ends.get(file, 0) <= info.offset <= info.offset + info.length <= manifest.files[file][0]:
            wrong.append(f"{shown(index.fqn)} has a wrong place in {shown(file)}")
        else:
            ends[file] = info.offset + info.length
    return wrong


def _is_tiled(shape: list[int], chunks: Any) -> bool:
    """Say whether chunks cover a tensor, each part once."""
    boxes = [list(zip(chunk.offsets, chunk.sizes, strict=True)) for chunk in chunks]
    if any(len(box) != len(shape) for box in boxes) or sum(math.prod(c.sizes) for c in chunks) != math.prod(shape):
        return False
    for i, box in enumerate(boxes):
        if not all(0 <= start <= start + size <= end for (start, size), end in zip(box, shape, strict=True)):
            return False
        for other in boxes[:i]:
            pairs = zip(box, other, strict=True)
            if math.prod(shape) and all(a < b + n and b < a + m for (a, m), (b, n) in pairs):
                return False
    return True
