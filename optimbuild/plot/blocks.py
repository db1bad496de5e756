"""The depth at which a parameter is drawn: its block, in the order in which the model lists its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.model.names import modules_around

MOST = 120
"""The most blocks that are told apart, if numbered modules are in numbered modules, as experts in a layer."""


def blocks_of(names: Sequence[str]) -> list[str]:
    """Return for each parameter the module that it is drawn at.

    This is the numbered module around it, such as ``levels.2.blocks.0``, that holds modules: the innermost one, or one
    further out where a model has too many of them. What is in none is drawn at the largest module that holds no such
    one, and a parameter that is in no module by itself.

    Args:
        names: The names of the parameters, in model order.

    >>> blocks_of(["stem.conv.weight", "layers.0.fc.weight", "layers.0.fc.bias", "layers.1.fc.weight", "head.weight"])
    ['stem', 'layers.0', 'layers.0', 'layers.1', 'head']
    """
    around = [modules_around(name) for name in names]
    blocks = {outer for modules in around for outer in modules[:-1] if outer.rpartition(".")[2].isdigit()}
    numbered = [[module for module in modules if module in blocks] for modules in around]
    for level in range(max(map(len, numbered), default=0), -1, -1):
        starts = [found[: level + 1][-1] if found else "" for found in numbered]
        if level == 0 or len(set(starts)) <= MOST:
            break
    above = {outer for start in set(starts) for outer in modules_around(start)}
    return [_block(name, start, modules, above) for name, start, modules in zip(names, starts, around, strict=True)]


def _block(name: str, start: str, modules: Sequence[str], above: set[str]) -> str:
    """Return the first module from the numbered one inwards that holds no numbered module; else the parameter."""
    return next((module for module in modules if len(module) >= len(start) and module not in above), name)
