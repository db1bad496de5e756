"""A check of the metadata of ``torch.distributed.checkpoint``: a pickle, which could run any code."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import torch

from optimbuild.errors import CheckpointError
from optimbuild.messages import shown

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


def check_metadata(path: Path) -> None:
    """Make sure that the metadata of a save has nothing but descriptions of tensors.

    Raises:
        CheckpointError: The file is no pickle, or would import or call something else.
    """
    try:
        with path.open("rb") as file:
            _MetadataUnpickler(file).load()
    except Exception as error:  # a pickle may be wrong in any way
        why = shown(str(error), 200)
        raise CheckpointError(f"{path} was altered or is not of a save: {why}. Nothing was loaded.") from error
