"""From a module to an inventory: canonical names, full shapes, owners, aliases and hooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import _get_fused_kernels_supported_devices  # type: ignore[attr-defined]

from optimbuild.errors import ModelError
from optimbuild.messages import shown
from optimbuild.model._columns import Params, Sort
from optimbuild.model.hints import HOOKS, Hooks
from optimbuild.model.inventory import Inventory
from optimbuild.model.kinds import kinds_of, sees_one_channel
from optimbuild.model.names import WRAPPED

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
        """The modules by canonical name, in pre-order; wrapped ones, not their wrappers."""
        found: dict[str, nn.Module] = {}
        _walk(self.model, lambda prefix, module: found.update({prefix.removesuffix("."): module}))
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
    names: list[str] = []
    tensors: list[nn.Parameter] = []
    sorts: list[Sort] = []
    sparse: set[int] = set()  # the ids of tensors that may get sparse gradients
    known: dict[type, tuple[tuple[Sort, Sort], tuple[Sort, Sort] | None]] = {}

    def enter(prefix: str, module: nn.Module) -> None:
        cls = type(module)
        plain, depthwise = known.get(cls) or known.setdefault(cls, _sorts_of_class(cls))  # type: ignore[arg-type]
        of_weight, of_bias = depthwise if depthwise is not None and _is_depthwise(module) else plain
        for key, tensor in module._parameters.items():
            if tensor is not None:
                names.append(prefix + key)
                tensors.append(tensor)
                sorts.append(of_bias if key == "bias" else of_weight)
        if module.__dict__.get("sparse") is True:  # getattr of a module takes a microsecond to find nothing
            sparse.update(map(id, module._parameters.values()))

    _walk(model, enter, bare=False)
    aliases: Sequence[tuple[str, ...]] = [()] * len(names)
    if len(set(map(id, tensors))) < len(tensors):
        kept, aliases = _kept(names, tensors)
        names, tensors, sorts = [names[i] for i in kept], [tensors[i] for i in kept], [sorts[i] for i in kept]
    params = Params.of_columns(
        names=names,
        shapes=_shapes(names, tensors, sorts),
        dtypes=_dtypes(tensors),
        sorts=sorts,
        trainable=[tensor.requires_grad for tensor in tensors],
        aliases=aliases,
    )
    root = unwrapped(model)
    on_cpu = all(map(attrgetter("is_cpu"), tensors))
    kernels = (_unfused(names, tensors, sparse, on_cpu), _sharded(names, tensors), on_cpu)
    return Surveyed(Inventory(params, _hooks(root), _class_of(type(root)).__name__, *kernels), tensors, model)


def _unfused(names: Sequence[str], tensors: Sequence[nn.Parameter], sparse: set[int], on_cpu: bool) -> frozenset[str]:
    """Return the names of the parameters that no fused kernel takes: sparse gradients, or a device that has none."""
    pairs = zip(names, tensors, strict=True) if sparse or not on_cpu else ()
    return frozenset(
        [name for name, tensor in pairs if id(tensor) in sparse or tensor.device.type not in FUSED_DEVICES]
    )


def _kept(names: Sequence[str], tensors: Sequence[nn.Parameter]) -> tuple[list[int], list[tuple[str, ...]]]:
    """Return where each tensor stands first, and the other names that it has."""
    found: dict[int, list[int]] = {}
    for place, tensor in enumerate(tensors):
        found.setdefault(id(tensor), []).append(place)
    aliases = [tuple(dict.fromkeys(names[place] for place in places[1:])) for places in found.values()]
    return [places[0] for places in found.values()], aliases


def _shapes(names: Sequence[str], tensors: Sequence[nn.Parameter], sorts: Sequence[Sort]) -> Sequence[tuple[int, ...]]:
    """Return the full shapes; DeepSpeed stage 3 leaves an empty tensor in place, and notes the shape that it had."""
    try:
        return [getattr(tensor, "ds_shape", tensor.shape) for tensor in tensors]
    except RuntimeError:
        name, owner = next((n, s.owner) for n, t, s in zip(names, tensors, sorts, strict=True) if not _has_shape(t))
        raise ModelError(
            f"parameter {name!r} of a lazy {owner} has no shape yet: run the model once before you plan"
        ) from None


def _has_shape(tensor: torch.Tensor) -> bool:
    try:
        return tensor.shape is not None
    except RuntimeError:
        return False


def _dtypes(tensors: Sequence[nn.Parameter]) -> list[str]:
    found = [tensor.dtype for tensor in tensors]
    names = {dtype: str(dtype).removeprefix("torch.") for dtype in set(found)}
    return [names[dtype] for dtype in found] if len(names) > 1 else [*names.values()] * len(found)


def _sharded(names: Sequence[str], tensors: Sequence[nn.Parameter]) -> frozenset[str]:
    """Return the names of the parameters that are DTensors; while nobody has imported their module, none is."""
    dtensor = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    if not any(issubclass(kind, dtensor) for kind in set(map(type, tensors))):
        return frozenset()
    return frozenset(name for name, tensor in zip(names, tensors, strict=True) if isinstance(tensor, dtensor))


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
    return children.get("module") if isinstance(module, _data_parallel()) else None


_WRAPPING = frozenset((*WRAPPED, "module"))


@lru_cache(maxsize=1)
def _data_parallel() -> tuple[type, ...]:
    return (nn.DataParallel, nn.parallel.DistributedDataParallel)


def _walk(root: nn.Module, enter: Callable[[str, nn.Module], None], *, bare: bool = True) -> None:
    """Enter every module in pre-order, with what its parameters' canonical names begin with.

    A shared module is entered under each of its names, one that is inside itself only once, and a wrapper before what
    it wraps, under the same name.

    Args:
        root: The whole model.
        enter: What to do with a module.
        bare: Whether modules without parameters of their own are entered too.

    Raises:
        ModelError: Modules are nested deeper than Python can follow.
    """
    try:
        _visit("", root, enter, set(), bare)
    except RecursionError:
        limit = sys.getrecursionlimit()
        raise ModelError(f"the model's modules are nested deeper than Python's recursion limit, {limit}") from None


def _visit(
    prefix: str, module: nn.Module, enter: Callable[[str, nn.Module], None], inside: set[int], bare: bool
) -> None:
    """Enter a module and all below it, but for those that it is inside of."""
    children, place = module._modules, id(module)
    if place in inside:
        return
    if bare or module._parameters:
        enter(prefix, module)
    inside.add(place)
    if not _WRAPPING.isdisjoint(children) and (inner := _inner(module)) is not None:
        _visit(prefix, inner, enter, inside, bare)
    else:
        for key, child in children.items():
            if child is None:
                continue
            if child._modules:
                _visit(f"{prefix}{key}.", child, enter, inside, bare)
            elif bare or child._parameters:
                enter(f"{prefix}{key}.", child)
    inside.discard(place)


def _is_depthwise(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    if weight is not None and not isinstance(weight, nn.UninitializedParameter):
        return sees_one_channel(getattr(weight, "ds_shape", None) or weight.shape)
    if isinstance(module, nn.modules.conv._ConvNd) and not module.transposed:  # the weight is computed from others
        return module.in_channels == module.groups
    return False


@lru_cache(maxsize=4096)
def _sorts_of_class(cls: type) -> tuple[tuple[Sort, Sort], tuple[Sort, Sort] | None]:
    """Return what a module class says about its parameters, and what it says where each filter sees one channel.

    The deformable convolutions of mmcv count as classes of ``torch.nn``, because ``paramwise`` asks for them by type.
    """
    cls = _class_of(cls)
    torch_names = [base.__name__ for base in cls.__mro__ if _is_known(base)]
    torch_names.remove("Module")
    name, bases = cls.__name__, tuple([n for n in torch_names if not n.startswith("_")] or torch_names)

    def of(weight_shape: Sequence[int] | None) -> tuple[Sort, Sort]:
        weight, bias = [Sort(name, bases, kinds_of(key, name, bases, weight_shape)) for key in ("", "bias")]
        return weight, bias

    plain, depthwise = of(None), of((1, 1, 1))
    return plain, depthwise if depthwise != plain else None


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
