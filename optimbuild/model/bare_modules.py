"""Modules without parameters of which published code takes notice, and which no parameter's name shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn


def bare_modules(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules without own parameters, by name: those that might have some, and those inside one that has.

    The first are norms without ``affine``. The others are children of a module that has parameters of its own, where
    no module inside it has any, such as an activation: they show that it is no leaf.

    Args:
        modules: Modules that have places for parameters, each with what the names of its parameters begin with.

    >>> block = nn.PReLU()
    >>> block.drop = nn.Dropout()
    >>> model = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Sequential(nn.ReLU()), block)
    >>> from optimbuild.model.walk import walk
    >>> [name for name, _ in bare_modules(walk(model))]
    ['0', '2.drop']
    """
    for prefix, module in modules:
        own = module._parameters
        if not own:
            continue
        if next(iter(own.values())) is None and all(tensor is None for tensor in own.values()):
            yield prefix[:-1], module
        elif module._modules:
            children = [(key, child) for key, child in module._modules.items() if child is not None]
            if not any(_has_parameters(child) for _, child in children):
                yield from ((f"{prefix}{key}", child) for key, child in children)


def _has_parameters(module: nn.Module) -> bool:
    """Say whether a module, or one inside it, has a parameter; the first look spares most the slow ``parameters()``."""
    own = any(tensor is not None for tensor in module._parameters.values())
    return own or next(module.parameters(), None) is not None
