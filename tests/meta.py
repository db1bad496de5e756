"""Models of others on the meta device, where they take no memory and no time to initialize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _LinspaceOnCpu(TorchFunctionMode):
    """Compute ``linspace`` for real: many models read their drop path rates from it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(dict(kwargs or {}, device="cpu") if func is torch.linspace else kwargs or {}))


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Return what a callable builds, on the meta device, or on the CPU where it computes with its parameters."""
    try:
        with torch.device("meta"), _LinspaceOnCpu():
            return build()
    except (NotImplementedError, RuntimeError, TypeError):
        return build()
