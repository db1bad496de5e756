"""Stand-ins for what OpenMMLab's packages import, and what their models need only when they run.

- ``mmcv._ext``, the compiled operators of mmcv: functions that do nothing. ``mmcv-lite`` has the Python above them.
- the multimodal models of mmpretrain and mmaction2, which import names that transformers of today lacks.
- ``mmaction.models.localizers.drn``, which the wheel of mmaction2 1.2.0 lacks.
- The version of mmcv, for mmyolo 0.6 refuses the 2.1.0 that mmdet 3.3 takes.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

OPERATORS = "mmcv._ext"
CLASSES = ("mmpretrain.models.multimodal", "mmaction.models.multimodal", "mmaction.models.localizers.drn")


class _Operators(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


class _Classes(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> Any:
        if fullname == OPERATORS or any(f"{fullname}.".startswith(f"{name}.") for name in CLASSES):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return (_Operators if spec.name == OPERATORS else _Classes)(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Put the stand-ins into their places. Call it before anything of OpenMMLab is imported."""
    sys.meta_path.insert(0, _Finder())
    import mmcv

    mmcv.__version__ = "2.0.1"


class _LinspaceOnCpu(TorchFunctionMode):
    """Models read their drop path rates from ``torch.linspace`` with ``item()``, which the meta device cannot."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Build on the meta device: real modules, tensors without memory."""
    torch.distributions.Distribution.set_default_validate_args(False)  # it reads numbers
    with torch.device("meta"), _LinspaceOnCpu():
        yield
