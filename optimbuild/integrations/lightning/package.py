"""Lightning's package, which has two names."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from optimbuild.errors import MissingPackageError

NAMES = ("lightning.pytorch", "pytorch_lightning")


def _package() -> Any:
    """Return the package that the training script has imported; else the one that is installed."""
    for name in NAMES:
        if name in sys.modules:
            return sys.modules[name]
    for name in NAMES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingPackageError(
        "these callbacks need Lightning, which is not installed: pip install optimbuild[lightning]"
    )


Callback: Any = _package().Callback
"""The base class of callbacks. A trainer of either package takes callbacks of the other one too."""
