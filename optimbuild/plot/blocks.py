"""The depth at which a parameter is drawn: its block, in the order in which the model lists its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.model.names import modules_around

MOST = 120
"""The most blocks that are told apart, if numbered modules are in numbered modules, as experts in a layer."""


def blocks_of(names: Sequence[str]) -> list[str]:
    """Return for each parameter the module that it is drawn at.

    This is the numbered module around it, such as ``levels.2.blocks.0``, one of several that are alike: the innermost
    one, or one further out where that makes too many. What is in none is drawn at the largest module that holds no
    such one, and a parameter that is in no module by itself.

    Args:
        names: The names of the parameters, in model order.

    >>> blocks_of(["stem.weight", "layers.0.fc.weight", "layers.0.fc.bias", "layers.1.fc.weight", "head.weight"])
    ['stem', 'layers.0', 'layers.0', 'layers.1', 'head']
    """
    around = [modules_around(name) for name in names]
    repeated = _repeated(names, around)
    numbered = [[module for module in modules if module in repeated] for modules in around]
    for level in range(max(map(len, numbered)), -1, -1):
        starts = [found[:level][-1] if found[:level] else "" for found in numbered]
        above = {outer for start in set(starts) for outer in modules_around(start)}
        found = [_block(*each, above) for each in zip(names, starts, around, strict=True)]
        if level < 2 or len(set(found)) <= MOST:
            break
    return found


def _repeated(names: Sequence[str], around: Sequence[Sequence[str]]) -> set[str]:
    """Return the numbered modules that hold modules as another one beside them does, as the blocks of a model do."""
    numbers: dict[tuple[str, str], set[str]] = {}  # by what is before and behind a number
    for name, modules in zip(names, around, strict=True):
        for module in modules[:-1]:
            container, _, number = module.rpartition(".")
            if number.isdigit():
                numbers.setdefault((container, name[len(module) :]), set()).add(module)
    return {module for modules in numbers.values() if len(modules) > 1 for module in modules}


def _block(name: str, start: str, modules: Sequence[str], above: set[str]) -> str:
    """Return the first module from the numbered one inwards that holds no numbered module; else the parameter."""
    return next((module for module in modules if len(module) >= len(start) and module not in above), name)
