"""From a module to an inventory: canonical names, full shapes, owners, aliases and hooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import _get_fused_kernels_supported_devices  # type: ignore[attr-defined]

from optimbuild.errors import ModelError, shown
from optimbuild.params import HOOKS, Hooks, Inventory, ParamInfo, kinds_of

FUSED_DEVICES = frozenset((*_get_fused_kernels_supported_devices(), "meta"))
"""Where fused kernels exist; a model on the meta device is planned for one of them."""

OLD_SPELLING = {"lr_decay_keywords": "lr_decay_keywards"}
"""How early releases of InternImage spelt a hook."""

WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""The children behind which torch.compile, activation checkpointing and FSDP1 keep the module that they wrap."""


@dataclass(frozen=True)
class Surveyed:
    """A module, seen once: its inventory, and the tensors behind it in the same order.

    Args:
        inventory: What a plan may know.
        tensors: The parameters themselves.
        modules: The modules by canonical name, in pre-order.
    """

    inventory: Inventory
    tensors: list[nn.Parameter]
    modules: dict[str, nn.Module]


def inventory(model: nn.Module) -> Inventory:
    """Return a module's parameters in ``named_parameters()`` order, and its hooks.

    Args:
        model: Real or on the meta device, bare or wrapped (DDP, FSDP, ``torch.compile``,
            activation checkpointing); wrappers leave no trace in the names.

    Raises:
        ModelError: It is no module, has no parameters, or a parameter's name would garble reports.

    >>> import torch
    >>> [(p.name, p.owner, sorted(p.kinds)) for p in inventory(torch.nn.Linear(2, 3))]
    [('weight', 'Linear', ['linear']), ('bias', 'Linear', ['bias', 'linear'])]
    """
    return survey(model).inventory


def survey(model: nn.Module) -> Surveyed:
    """Return a module's inventory together with its tensors and modules.

    Raises:
        ModelError: As :func:`inventory`.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, an Inventory or a path to one, not {shown(model)}")
    place_of: dict[int, int] = {}
    tensors: list[nn.Parameter] = []
    found: list[tuple[str, nn.Module]] = []
    aliases: dict[int, list[str]] = {}
    modules: dict[str, nn.Module] = {}
    for prefix, module in _walk(model):
        modules.setdefault(prefix, module)
        for key, tensor in module._parameters.items():
            if tensor is None:
                continue
            name = f"{prefix}.{key}" if prefix else key
            place = place_of.setdefault(id(tensor), len(tensors))
            if place == len(tensors):
                tensors.append(tensor)
                found.append((name, module))
            else:
                aliases.setdefault(place, []).append(name)
    params = tuple(
        [_info(*found[i], tensor, tuple(dict.fromkeys(aliases.get(i, ())))) for i, tensor in enumerate(tensors)]
    )
    unfused = frozenset(
        info.name
        for info, tensor, (_, module) in zip(params, tensors, found, strict=True)
        if getattr(module, "sparse", False) is True or tensor.device.type not in FUSED_DEVICES
    )
    root = unwrapped(model)
    return Surveyed(Inventory(params, _hooks(root), _class_of(type(root)).__name__, unfused), tensors, modules)


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside DDP, FSDP1, ``torch.compile`` and checkpoint wrappers."""
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def _inner(module: nn.Module) -> nn.Module | None:
    children = module._modules
    for key in WRAPPED:
        if key in children:
            return children[key]
    if "module" in children and isinstance(module, _data_parallel()):
        return children["module"]
    return None


@lru_cache(maxsize=1)
def _data_parallel() -> tuple[type, ...]:
    return (nn.DataParallel, nn.parallel.DistributedDataParallel)


def _walk(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module with its canonical name, in pre-order; a shared one under each of its names."""
    stack: list[tuple[str, nn.Module, tuple[int, ...]]] = [("", root, ())]
    while stack:
        prefix, module, above = stack.pop()
        inner = _inner(module)
        if inner is not None:
            if module._parameters:  # FSDP1 keeps its flat parameter on the wrapper
                yield prefix, module
            stack.append((prefix, inner, above))
            continue
        yield prefix, module
        if module._modules:
            inside = (*above, id(module))
            for key, child in reversed(module._modules.items()):
                if child is not None and id(child) not in inside:
                    stack.append((f"{prefix}.{key}" if prefix else key, child, inside))


def _info(name: str, module: nn.Module, tensor: nn.Parameter, aliases: tuple[str, ...]) -> ParamInfo:
    owner, bases = _owner(type(module))  # type: ignore[arg-type]
    weight = module._parameters.get("weight")
    kinds = _kinds(name, owner, bases, weight)
    shape = getattr(tensor, "ds_shape", None)  # DeepSpeed stage 3 leaves an empty tensor in place
    try:
        shape = tuple(tensor.shape if shape is None else shape)
    except RuntimeError:
        raise ModelError(
            f"parameter {name!r} of a lazy {owner} has no shape yet: run the model once before you plan"
        ) from None
    return ParamInfo(name, shape, _dtype(tensor.dtype), owner, bases, kinds, tensor.requires_grad, aliases)


def _kinds(name: str, owner: str, bases: tuple[str, ...], weight: Any) -> frozenset[str]:
    if weight is None or not any("Conv" in cls for cls in (owner, *bases)):
        return kinds_of(name, owner, bases)
    shape = getattr(weight, "ds_shape", None)
    return kinds_of(
        name, owner, bases, None if isinstance(weight, nn.UninitializedParameter) else shape or weight.shape
    )


@cache
def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@lru_cache(maxsize=4096)
def _owner(cls: type) -> tuple[str, tuple[str, ...]]:
    """Return the name of a module's class, and that of its ancestors (and itself) in ``torch.nn``."""
    cls = _class_of(cls)
    torch_names = [base.__name__ for base in cls.__mro__ if base.__module__.startswith("torch.nn.modules")]
    torch_names.remove("Module")
    public = [name for name in torch_names if not name.startswith("_")]
    return cls.__name__, tuple(public or torch_names)


def _class_of(cls: type) -> type:
    """Return the class that FSDP2 and parametrizations derived theirs from, where they did."""
    fsdp = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    if fsdp is not None and fsdp in cls.__bases__ and cls is not fsdp:
        return _class_of(next(base for base in cls.__bases__ if base is not fsdp))
    if cls.__module__ == "torch.nn.utils.parametrize" and cls.__name__.startswith("Parametrized"):
        return _class_of(cls.__bases__[0])
    return cls


def _hooks(model: nn.Module) -> Hooks:
    live = {}
    for hook in HOOKS:
        method = getattr(model, hook, None) or getattr(model, OLD_SPELLING.get(hook, hook), None)
        if callable(method):
            live[hook] = method
    return Hooks(live=live)
