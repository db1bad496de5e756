"""From a module to an inventory: canonical names, full shapes, owners, aliases and hooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import _get_fused_kernels_supported_devices  # type: ignore[attr-defined]

from optimbuild.errors import ModelError, shown
from optimbuild.hooks import HOOKS, WRAPPED, Hooks
from optimbuild.params import Inventory, ParamInfo, kinds_of, sees_one_channel

FUSED_DEVICES = frozenset((*_get_fused_kernels_supported_devices(), "meta"))
"""Where fused kernels exist; a model on the meta device is planned for one of them."""

OLD_SPELLING = {"lr_decay_keywords": "lr_decay_keywards"}
"""How early releases of InternImage spelt a hook."""


@dataclass(frozen=True)
class Surveyed:
    """A module, seen once: its inventory, and the tensors behind it in the same order.

    Args:
        inventory: What a plan may know.
        tensors: The parameters themselves.
        model: The module.
    """

    inventory: Inventory
    tensors: list[nn.Parameter]
    model: nn.Module

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by canonical name, in pre-order; a shared one under its first name."""
        found: dict[str, nn.Module] = {}
        for prefix, module in _walk(self.model):
            found.setdefault(prefix.removesuffix("."), module)
        return found


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
    params: dict[int, ParamInfo] = {}  # by the id of the tensor
    tensors: list[nn.Parameter] = []
    unfused: list[str] = []
    on_cpu = True
    aliases: dict[int, dict[str, None]] = {}
    for prefix, module in _walk(model):
        parameters = module._parameters
        if not parameters:
            continue
        owner = _owner(type(module))  # type: ignore[arg-type]
        sparse = module.__dict__.get("sparse") is True  # getattr of a module takes a microsecond to find nothing
        for key, tensor in parameters.items():
            if tensor is None:
                continue
            name, place = prefix + key, id(tensor)
            if place in params:
                aliases.setdefault(place, {})[name] = None
                continue
            params[place] = _param(name, key, tensor, module, owner)
            tensors.append(tensor)
            if not tensor.is_cpu:
                on_cpu = False
            if sparse or not (on_cpu or tensor.device.type in FUSED_DEVICES):
                unfused.append(name)
    for place, names in aliases.items():
        params[place] = replace(params[place], aliases=tuple(names))
    root, found = unwrapped(model), tuple(params.values())
    name, kernels = _class_of(type(root)).__name__, (frozenset(unfused), _sharded(found, tensors), on_cpu)
    return Surveyed(Inventory(found, _hooks(root), name, *kernels), tensors, model)


def _sharded(params: Sequence[ParamInfo], tensors: Sequence[nn.Parameter]) -> frozenset[str]:
    """Return the names of the parameters that are DTensors; while nobody has imported their module, none is."""
    dtensor = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    if not any(issubclass(kind, dtensor) for kind in set(map(type, tensors))):
        return frozenset()
    return frozenset(param.name for param, tensor in zip(params, tensors, strict=True) if isinstance(tensor, dtensor))


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside DDP, FSDP1, ``torch.compile`` and checkpoint wrappers."""
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def _inner(module: nn.Module) -> nn.Module | None:
    children = module._modules
    if _WRAPPING.isdisjoint(children):
        return None
    for key in WRAPPED:
        if key in children:
            return children[key]
    return children["module"] if isinstance(module, _data_parallel()) else None


_WRAPPING = frozenset((*WRAPPED, "module"))


@lru_cache(maxsize=1)
def _data_parallel() -> tuple[type, ...]:
    return (nn.DataParallel, nn.parallel.DistributedDataParallel)


def _walk(root: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every module in pre-order, with what its parameters' canonical names begin with.

    A shared module comes under each of its names; one that is inside itself only once.
    """
    found: list[tuple[str, nn.Module]] = []
    above: list[tuple[str, int, Iterator[tuple[str, nn.Module | None]]]] = []
    entered = _entered("", root, found)
    prefix, holder, children = "", id(entered), iter(entered._modules.items())
    inside = {holder}
    while True:
        for key, child in children:
            if child is None:
                continue
            name = f"{prefix}{key}."
            if not child._modules:
                found.append((name, child))
            elif id(unwrapped(child)) not in inside:
                above.append((prefix, holder, children))
                entered = _entered(name, child, found)
                prefix, holder, children = name, id(entered), iter(entered._modules.items())
                inside.add(holder)
                break
        else:
            inside.discard(holder)
            if not above:
                return found
            prefix, holder, children = above.pop()


def _entered(prefix: str, module: nn.Module, found: list[tuple[str, nn.Module]]) -> nn.Module:
    """Note a module, and return it; of a wrapper, note and return what it wraps."""
    while (inner := _inner(module)) is not None:
        if module._parameters:  # FSDP1 keeps its flat parameter on the wrapper
            found.append((prefix, module))
        module = inner
    found.append((prefix, module))
    return module


@dataclass(frozen=True, slots=True)
class _Owner:
    """What all parameters of a module class have in common.

    Args:
        name: The name of the class.
        bases: Its ancestors (and itself) in ``torch.nn``.
        kinds: The kinds of its parameters, and those of its bias.
        depthwise: The same, where each filter of the weight sees one channel.
        convolves: Whether that can be.
    """

    name: str
    bases: tuple[str, ...]
    kinds: tuple[frozenset[str], frozenset[str]]
    depthwise: tuple[frozenset[str], frozenset[str]]
    convolves: bool


class _Draft:
    """A :class:`ParamInfo` in the making.

    Constructing a frozen dataclass takes four times as long as setting the same slots and then changing the class,
    and that is a tenth of a whole build.
    """

    __slots__ = ParamInfo.__slots__  # the same ones, or the class could not be changed

    name: str
    shape: tuple[int, ...]
    dtype: str
    owner: str
    bases: tuple[str, ...]
    kinds: frozenset[str]
    trainable: bool
    aliases: tuple[str, ...]


def _param(name: str, key: str, tensor: nn.Parameter, module: nn.Module, owner: _Owner) -> ParamInfo:
    draft = _Draft()
    draft.name = name
    shape = getattr(tensor, "ds_shape", None)  # DeepSpeed stage 3 leaves an empty tensor in place
    try:
        draft.shape = tuple(tensor.shape if shape is None else shape)
    except RuntimeError:
        raise ModelError(
            f"parameter {name!r} of a lazy {owner.name} has no shape yet: run the model once before you plan"
        ) from None
    draft.dtype = _dtype(tensor.dtype)
    draft.owner = owner.name
    draft.bases = owner.bases
    kinds = owner.depthwise if owner.convolves and _is_depthwise(module) else owner.kinds
    draft.kinds = kinds[key == "bias"]
    draft.trainable = tensor.requires_grad
    draft.aliases = ()
    draft.__class__ = ParamInfo  # type: ignore[assignment]
    return draft  # type: ignore[return-value]


def _is_depthwise(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    if weight is not None and not isinstance(weight, nn.UninitializedParameter):
        return sees_one_channel(getattr(weight, "ds_shape", None) or weight.shape)
    if isinstance(module, nn.modules.conv._ConvNd) and not module.transposed:  # the weight is computed from others
        return module.in_channels == module.groups
    return False


@cache
def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@lru_cache(maxsize=4096)
def _owner(cls: type) -> _Owner:
    """Return what a module class says about its parameters.

    The deformable convolutions of mmcv count as classes of ``torch.nn``, because ``paramwise`` asks for them by type.
    """
    cls = _class_of(cls)
    torch_names = [base.__name__ for base in cls.__mro__ if _is_known(base)]
    torch_names.remove("Module")
    name, bases = cls.__name__, tuple([n for n in torch_names if not n.startswith("_")] or torch_names)
    convolves = any("Conv" in known for known in (name, *bases))
    kinds, depthwise = [(kinds_of("", name, bases, s), kinds_of("bias", name, bases, s)) for s in (None, (1, 1, 1))]
    return _Owner(name, bases, kinds, depthwise, convolves)


def _is_known(cls: type) -> bool:
    return cls.__module__.startswith("torch.nn.modules") or (
        cls.__module__.startswith("mmcv.ops.") and "DeformConv" in cls.__name__
    )


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
        method = _attribute(model, hook) or _attribute(model, OLD_SPELLING.get(hook, hook))
        if method is not None and not callable(method):
            raise ModelError(f"{hook} of the model must be a method, not {shown(method)}")
        if method is not None:
            live[hook] = method
    return Hooks(live=live)


def _attribute(model: nn.Module, name: str) -> Any:
    try:
        return getattr(model, name, None)
    except Exception as error:  # a property may raise anything
        raise ModelError(f"{name} of the model raised {type(error).__name__}: {shown(str(error), 200)}") from error
