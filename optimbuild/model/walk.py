"""Walking over the modules of a model by their canonical names, wrappers left out."""

from __future__ import annotations

import sys

from torch import nn

from optimbuild.errors import ModelError
from optimbuild.model.names import WRAPPED


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside DDP, FSDP1, ``torch.compile`` and checkpoint wrappers."""
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def _inner(module: nn.Module) -> nn.Module | None:
    children = module._modules
    if children.keys().isdisjoint(_INSIDE_WRAPPERS):
        return None
    for key in WRAPPED:
        if key in children:
            return children[key]
    return children.get("module") if isinstance(module, _DATA_PARALLEL) else None


_DATA_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_INSIDE_WRAPPERS = frozenset((*WRAPPED, "module"))


def walk(root: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every module in pre-order, with what the canonical names of its parameters begin with.

    A shared module comes under each of its names, one that is inside itself only once, and a wrapper before what
    it wraps, under the same name.

    Raises:
        ModelError: Modules are nested deeper than Python can follow.
    """
    try:
        found: list[tuple[str, nn.Module]] = []
        _visit("", root, found, set())
    except RecursionError:
        limit = sys.getrecursionlimit()
        raise ModelError(f"the model's modules are nested deeper than Python's recursion limit, {limit}") from None
    return found


def _visit(prefix: str, module: nn.Module, found: list[tuple[str, nn.Module]], inside: set[int]) -> None:
    """Add a module and all below it, but for those that it is inside of."""
    if id(module) in inside:
        return
    found.append((prefix, module))
    children = module._modules
    if not children:
        return
    inside.add(id(module))
    inner = _inner(module)
    if inner is not None:
        _visit(prefix, inner, found, inside)
    else:
        for key, child in children.items():
            if child is None:
                continue
            if child._modules:
                _visit(f"{prefix}{key}.", child, found, inside)
            else:
                found.append((f"{prefix}{key}.", child))
    inside.discard(id(module))
