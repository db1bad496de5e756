"""The packages whose optimizers a config can name, one line each. Their names come from the packages themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from optimbuild.registry.packages import Offer, OptimizerPackage, declare


def _of_timm(optim: Any) -> Iterable[Offer]:
    """Yield what timm's registry has, without the classes of other packages, with the defaults of timm's factory."""
    momentum = inspect.signature(optim.create_optimizer_v2).parameters["momentum"].default
    for name in optim.list_optimizers():
        info = optim.get_optimizer_info(name)
        defaults = {"momentum": momentum} if info.has_momentum else {}
        if not isinstance(info.opt_class, str):
            yield name, info.opt_class, {**defaults, **(info.defaults or {})}


def _of_pytorch_optimizer(package: Any) -> Iterable[Offer]:
    """Yield what the package's own loader knows."""
    for name in package.get_supported_optimizers():
        cls = package.load_optimizer(name)
        yield cls.__name__, cls, {}


declare(OptimizerPackage("torch", "torch.optim"))
declare(OptimizerPackage("timm", "timm.optim", _of_timm, "optim/_optim_factory.py"))
declare(OptimizerPackage("pytorch-optimizer", "pytorch_optimizer", _of_pytorch_optimizer, "optimizer/__init__.py"))
declare(OptimizerPackage("lion-pytorch", "lion_pytorch"))
declare(OptimizerPackage("schedulefree", "schedulefree"))
declare(OptimizerPackage("prodigyopt", "prodigyopt"))
declare(OptimizerPackage("heavyball", "heavyball"))
declare(OptimizerPackage("torch-optimi", "optimi", kernels=()))  # it chooses between Triton and a loop
declare(OptimizerPackage("flashoptim", "flashoptim"))
declare(OptimizerPackage("bitsandbytes", "bitsandbytes.optim"))
declare(OptimizerPackage("torchao", "torchao.optim"))
declare(OptimizerPackage("apollo-torch", "apollo_torch"))
