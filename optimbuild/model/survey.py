"""From a module to an inventory: canonical names, full shapes, owners, aliases, marks and hints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from optimbuild.errors import ModelError
from optimbuild.messages import shown
from optimbuild.model.bare_modules import bare_modules
from optimbuild.model.foreign_classes import class_names
from optimbuild.model.full_shapes import full_shape, shapes_before_fsdp
from optimbuild.model.hints import HOOKS, Hints
from optimbuild.model.inventory import Inventory
from optimbuild.model.kinds import kinds_of, role_of, sees_one_channel
from optimbuild.model.marks import marks_of
from optimbuild.model.named_outputs import named_outputs
from optimbuild.model.param_info import NOTHING, ParamInfo, modules_around
from optimbuild.model.walk import unwrapped, walk

OLD_SPELLING = {"lr_decay_keywords": "lr_decay_keywards"}
"""How early releases of InternImage spelt a hook."""

_HOOK_NAMES = frozenset((*HOOKS, *OLD_SPELLING.values()))
_CONTAINERS = (nn.ParameterList, nn.ParameterDict, ParametrizationList)
"""Modules that hold parameters for the module above them."""


class Owner(NamedTuple):
    """The class that owns a parameter.

    Args:
        name: Its name.
        bases: The names of its ``torch.nn`` ancestors, itself included where it is one; and of those classes of other
            packages, with the package, for which published constructors ask.
        one_channel: Whether each filter of the module's weight sees one channel.
    """

    name: str
    bases: tuple[str, ...]
    one_channel: bool


@dataclass(frozen=True)
class Surveyed:
    """A module, seen once: its inventory, and the tensors behind it in the same order.

    Args:
        inventory: What a plan may know.
        tensors: The parameters themselves.
        walked: Every module in pre-order, with what the canonical names of its parameters begin with.
    """

    inventory: Inventory
    tensors: list[nn.Parameter]
    walked: Sequence[tuple[str, nn.Module]]

    @property
    def model(self) -> nn.Module:
        """The module."""
        return self.walked[0][1]

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by canonical name, in pre-order; wrapped ones, not their wrappers."""
        return {prefix[:-1]: module for prefix, module in self.walked}

    def part(self, inventory: Inventory) -> Surveyed:
        """Return a part of the module, under the names of the whole.

        Args:
            inventory: The part.
        """
        around = {module for param in inventory for name in param.names for module in modules_around(name)}
        tensors = [self.tensors[position] for position in self.inventory.positions(inventory.names)]
        return Surveyed(inventory, tensors, [(start, module) for start, module in self.walked if start[:-1] in around])


def inventory(model: nn.Module) -> Inventory:
    """Return a module's parameters in ``named_parameters()`` order, and its hints.

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
    """Return a module's inventory together with its tensors.

    Raises:
        ModelError: As :func:`inventory`.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, an Inventory or a path to one, not {shown(model)}")
    modules = walk(model)
    holders = [(prefix, module) for prefix, module in modules if module._parameters]
    flattened = shapes_before_fsdp([module for _, module in modules])
    names: dict[int, str] = {}  # by the id of a tensor
    tensors: list[nn.Parameter] = []
    params: list[ParamInfo] = []
    aliases: dict[int, dict[str, None]] = {}  # of those that modules share
    sparse: set[int] = set()
    known: _Known = {}
    for prefix, module, owner, container in _owners(holders, modules, flattened):
        for key, tensor in module._parameters.items():
            if tensor is None:
                continue
            name, first = prefix + key, names.get(id(tensor))
            if first is None:
                names[id(tensor)] = name
                tensors.append(tensor)
                params.append(_param(name, tensor, owner, container, known, flattened))
            elif first != name:
                aliases.setdefault(id(tensor), {})[name] = None
        if module.__dict__.get("sparse") is True:  # getattr of a module takes a microsecond to find nothing
            sparse.update(map(id, module._parameters.values()))
    if aliases:
        pairs = zip(params, tensors, strict=True)
        params = [param._replace(aliases=tuple(aliases.get(id(tensor), ()))) for param, tensor in pairs]
    root, devices = unwrapped(model), {tensor.device for tensor in tensors}
    made = Inventory(
        params,
        hints=_hints(root, modules),
        model=_class_of(type(root)).__name__,
        unfused=_unfused(params, tensors, sparse, {device.type for device in devices}),
        sharded=_sharded(params, tensors),
        on_cpu=all(device.type == "cpu" for device in devices),
        statistics=tuple([prefix[:-1] for prefix, module in modules if module._buffers and _keeps_statistics(module)]),
        packages=_packages(_class_of(type(root))),
        outputs=named_outputs(modules, names),
        backbone=_backbone(root),
        bare={name: _bases_of(type(module)) for name, module in bare_modules(holders)},
    )
    return Surveyed(made, tensors, modules)


def _owners(
    holders: Sequence[tuple[str, nn.Module]],
    modules: Sequence[tuple[str, nn.Module]],
    flattened: Mapping[int, Sequence[int]],
) -> list[tuple[str, nn.Module, Owner, str]]:
    """Return the modules that hold parameters, the owners of these, and what they call a container.

    A list or dictionary of parameters, and a parametrization, hold parameters for the module above them. For what a
    module itself holds the container is empty.
    """
    containers = {cls for cls in {type(module) for _, module in holders} if issubclass(cls, _CONTAINERS)}
    by_prefix = dict(modules) if containers else {}
    found = []
    for prefix, module in holders:
        owner, container = module, ""
        if type(module) in containers:
            owner, container = _owner_above(prefix, module, by_prefix)
        cls: Any = type(owner)
        one_channel = _is_convolution(cls) and _is_depthwise(owner, flattened)
        found.append((prefix, module, _owner(cls, one_channel), container))
    return found


def _owner_above(prefix: str, module: nn.Module, by_prefix: Mapping[str, nn.Module]) -> tuple[nn.Module, str]:
    """Return the module for which a container holds parameters, and what it calls the container."""
    owner, container, path = module, "", prefix[:-1]
    while isinstance(owner, _CONTAINERS) and path:
        above, _, container = path.rpartition(".")
        path = above.rpartition(".")[0] if isinstance(owner, ParametrizationList) else above
        owner = by_prefix.get(f"{path}." if path else "", module)
    return owner, container


_Known = dict[tuple[Any, ...], tuple[Any, ...]]
"""For what modules, tensors and roles have in common, all fields of the parameters but their names."""


def _param(
    name: str,
    tensor: nn.Parameter,
    owner: Owner,
    container: str,
    known: _Known,
    flattened: Mapping[int, Sequence[int]],
) -> ParamInfo:
    """Return a parameter without its aliases; of those that are alike in a model, all but the name is made once."""
    noted = tensor.__dict__  # nearly always empty
    try:
        shape = tuple(full_shape(tensor, flattened)) if noted else tensor.shape
    except RuntimeError:
        raise ModelError(
            f"parameter {name!r} of a lazy {owner.name} has no shape yet: run the model once before you plan"
        ) from None
    role = role_of(name, owner.name, owner.bases, container)
    alike = (id(owner), container, role, shape, tensor.dtype, tensor.requires_grad)
    rest = known.get(alike)
    if rest is None:
        kinds = kinds_of(role, owner.name, owner.bases, tuple(shape), owner.one_channel)
        rest = known[alike] = (
            tuple(shape),
            str(tensor.dtype).removeprefix("torch."),
            owner.name,
            owner.bases,
            kinds.kinds,
            tensor.requires_grad,
            (),
            NOTHING,
            kinds.evidence,
            container,
        )
    made = ParamInfo._make((name, *rest))
    return made._replace(marks=marks_of(tensor)) if noted else made


def _unfused(
    params: Sequence[ParamInfo], tensors: Sequence[nn.Parameter], sparse: set[int], devices: set[str]
) -> frozenset[str]:
    """Return the names of the parameters that no fused kernel takes: sparse gradients, or a device that has none."""
    devices = devices - fused_devices()
    if not sparse and not devices:
        return frozenset()
    return frozenset(
        [
            param.name
            for param, tensor in zip(params, tensors, strict=True)
            if id(tensor) in sparse or (devices and tensor.device.type in devices)
        ]
    )


@lru_cache(maxsize=1)
def fused_devices() -> frozenset[str]:
    """Return the devices with fused kernels; a model on the meta device is planned for one of them.

    Torch says so in a private function only, so a release without it gets the devices of torch 2.13.
    """
    try:
        from torch.optim.optimizer import _get_fused_kernels_supported_devices as devices  # type: ignore[attr-defined]
    except ImportError:
        return frozenset(("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "meta"))
    return frozenset((*devices(), "meta"))


def _sharded(params: Sequence[ParamInfo], tensors: Sequence[nn.Parameter]) -> frozenset[str]:
    """Return the names of the parameters that are DTensors; while nobody has imported their module, none is."""
    dtensor = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    if dtensor is None:
        return frozenset()
    return frozenset([param.name for param, tensor in zip(params, tensors, strict=True) if isinstance(tensor, dtensor)])


def _keeps_statistics(module: nn.Module) -> bool:
    """Say whether a module updates running statistics in train mode, as batch norms do."""
    return module._buffers.get("running_mean") is not None and not type(module).__name__.startswith("Frozen")


@lru_cache(maxsize=4096)
def _is_convolution(cls: Any) -> bool:
    return any("conv" in base.__name__.lower() for base in cls.__mro__)


def _is_depthwise(module: nn.Module, flattened: Mapping[int, Sequence[int]]) -> bool:
    weight = module._parameters.get("weight")
    if type(weight) is nn.Parameter or (weight is not None and not isinstance(weight, nn.UninitializedParameter)):
        return sees_one_channel(full_shape(weight, flattened))
    if isinstance(module, nn.modules.conv._ConvNd) and not module.transposed:  # the weight is computed from others
        return module.in_channels == module.groups
    return False


@lru_cache(maxsize=4096)
def _owner(cls: Any, one_channel: bool) -> Owner:
    """Return what a module class says about its parameters.

    The deformable convolutions of mmcv count as classes of ``torch.nn``, because ``paramwise`` asks for them by type.
    Classes of other packages for which published constructors ask stand behind, with their packages.
    """
    cls = _class_of(cls)
    torch_names = [base.__name__ for base in cls.__mro__ if _is_known(base)]
    torch_names.remove("Module")
    names = [name for name in torch_names if not name.startswith("_")] or torch_names
    return Owner(cls.__name__, (*names, *class_names(cls)), one_channel)


def _bases_of(cls: Any) -> tuple[str, ...]:
    return _owner(cls, False).bases


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


def _packages(cls: type) -> tuple[str, ...]:
    """Return the top-level packages of a class and its ancestors; Python's own and torch's say nothing."""
    found = dict.fromkeys([base.__module__.partition(".")[0] for base in cls.__mro__])
    return tuple([package for package in found if package not in ("builtins", "typing", "abc", "torch")])


def _backbone(root: nn.Module) -> str:
    """Return the class name of the module that the model has under ``backbone``; empty where there is none."""
    found = root._modules.get("backbone")
    return "" if found is None else _class_of(type(unwrapped(found))).__name__


def _hints(root: nn.Module, modules: Sequence[tuple[str, nn.Module]]) -> Hints:
    """Return the hooks of the root, and those of every module inside that has some.

    A wrapper that passes on what the module inside answers (with ``__getattr__``, say) has no hooks: that module has.
    """
    classes: set[Any] = {type(module) for _, module in modules}
    with_hooks = {cls for cls in classes if _has_hooks(cls)}
    asked = [
        (prefix[:-1], module)
        for prefix, module in modules
        if prefix and (type(module) in with_hooks or not module.__dict__.keys().isdisjoint(_HOOK_NAMES))
    ]
    inner = {path: live for path, module in asked if (live := _live(module, path, modules))}
    found = {path: Hints(live=live, of=path) for path, live in inner.items()}
    return Hints(live=_live(root, "the model", modules), inner=found)


@lru_cache(maxsize=4096)
def _has_hooks(cls: Any) -> bool:
    return any(hook in vars(base) for base in cls.__mro__ for hook in _HOOK_NAMES)


def _live(module: nn.Module, of: str, modules: Sequence[tuple[str, nn.Module]]) -> dict[str, Callable[..., Any]]:
    """Return the hooks that a module has."""
    return {hook: method for hook in HOOKS if (method := _hook(module, hook, of, modules)) is not None}


def _hook(module: nn.Module, name: str, of: str, modules: Sequence[tuple[str, nn.Module]]) -> Callable[..., Any] | None:
    """Return a hook of a module: its method, or what answers with the collection of names that is there instead.

    Anything else under that name is an error when it is asked, so that who does not ask it is not stopped.
    """
    for spelling in (name, OLD_SPELLING.get(name, name)):
        try:
            found = getattr(module, spelling, None)
        except Exception as error:  # noqa: BLE001  # a property may raise anything
            return _raising(f"{spelling} of {of} raised {type(error).__name__}: {shown(str(error), 200)}", error)
        if callable(found):
            bound_to = getattr(found, "__self__", module)
            return found if bound_to is module or not any(bound_to is other for _, other in modules) else None
        if isinstance(found, (set, frozenset, list, tuple)):
            return partial(_itself, found)
        if found is not None:
            return _raising(f"{spelling} of {of} must be a method or a collection of names, not {shown(found)}")
    return None


def _itself(names: Collection[str], *_: Any) -> Collection[str]:
    return names


def _raising(message: str, cause: BaseException | None = None) -> Callable[..., Any]:
    def hook(*_: Any) -> Any:
        raise ModelError(message) from cause

    return hook
