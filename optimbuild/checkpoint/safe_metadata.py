"""The metadata of ``torch.distributed.checkpoint`` is a pickle; here it is read without running what it says."""

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


class _Vetting(pickle.Unpickler):
    """Unpickles the few types that the metadata of a save has."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class by its name, where a save may hold it."""
        if module in ("pathlib", "pathlib._local") and name in _PATHS:
            return super().find_class(module, name)
        if module in _MODULES:  # only what is defined there: no dotted way out, nothing imported
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        elif (module, name) in _FUNCTIONS:
            return super().find_class(module, name)
        elif module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which no save has")


def vet_metadata(path: Path) -> None:
    """Make sure that the metadata of a save holds nothing but the description of tensors.

    Raises:
        CheckpointError: It is no pickle, or would import or call something else.
    """
    try:
        with path.open("rb") as file:
            _Vetting(file).load()
    except Exception as error:  # a pickle may be wrong in any way
        why = shown(str(error), 200)
        raise CheckpointError(f"{path} was altered or is not of a save: {why}. Nothing was loaded.") from error
