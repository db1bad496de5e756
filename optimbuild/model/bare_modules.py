"""Modules without parameters of which published code takes notice, and which no parameter's name shows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def bare_modules(modules: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Return modules without own parameters, by name: those that might have some, and those inside one that has.

    The first are norms without ``affine``. The others are children of a module that has parameters of its own, where
    no module inside it has any, such as an activation: they show that it is no leaf.

    Args:
        modules: Modules in pre-order, each with what the names of its parameters begin with.

    >>> block = nn.PReLU()
    >>> block.drop = nn.Dropout()
    >>> model = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Sequential(nn.ReLU()), block)
    >>> from optimbuild.model.walk import walk
    >>> [name for name, _ in bare_modules(walk(model))]
    ['0', '2.drop']
    """
    found: list[tuple[str, nn.Module]] = []
    following: str | None = None  # what the names of the next module that has own parameters begin with
    for prefix, module in reversed(modules):
        if not module._parameters:
            continue
        if not _has_own(module):
            found.append((prefix[:-1], module))
            continue
        if module._modules and (following is None or not following.startswith(prefix)):
            inside = [(f"{prefix}{key}", child) for key, child in module._modules.items() if child is not None]
            found += reversed(inside)
        following = prefix
    return found[::-1]


def _has_own(module: nn.Module) -> bool:
    """Say whether a module with places for parameters has one; the first mostly says so."""
    own = module._parameters.values()
    return next(iter(own)) is not None or any(tensor is not None for tensor in own)
