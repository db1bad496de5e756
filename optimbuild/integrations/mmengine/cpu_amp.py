"""Mixed precision on a machine without an accelerator, where MMEngine's own wrapper refuses to be built."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from optimbuild.messages import shown


class CpuAmpOptimWrapper(AmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper`` for bfloat16 on the CPU, which needs no loss scaling.

    Args:
        loss_scale: Accepted, and without effect.
        dtype: ``bfloat16``, or None for the same.
        use_fsdp: Accepted, and without effect.
        **kwargs: Passed to ``OptimWrapper``.

    Raises:
        ValueError: Another dtype.
    """

    def __init__(self, loss_scale: Any = "dynamic", dtype: Any = None, use_fsdp: bool = False, **kwargs: Any) -> None:
        del loss_scale, use_fsdp
        OptimWrapper.__init__(self, **kwargs)
        if dtype not in (None, "bfloat16", torch.bfloat16):
            raise ValueError(f"without an accelerator dtype must be 'bfloat16', not {shown(dtype)}")
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.cast_dtype = torch.bfloat16


def fitting_class(cls: type) -> type:
    """Return the wrapper's class to use on this machine: without an accelerator, AMP takes a class for the CPU."""
    return CpuAmpOptimWrapper if cls is AmpOptimWrapper and get_device() == "cpu" else cls
