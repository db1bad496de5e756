"""Short names of groups, for whoever logs them: where their parameters are, and what tells them from others there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Sequence
from itertools import chain
from typing import Any

from optimbuild.plan.decision import MEMBER, Group

UNSAFE = re.compile(r"[^\w.-]+")
"""What loggers refuse in the name of a value, or replace."""

FIRST = (MEMBER, "weight_decay", "lr")
"""What tells groups apart, before all other options."""


def group_names(groups: Sequence[Group], base_lr: float | None = None) -> tuple[str, ...]:
    """Return a name for each group, no two of which are equal. It does not change with the base LR.

    A name that a rule gave stays. Any other one begins with the module that has all parameters of the group, without
    what all groups have in common. Groups of one place add what they differ in, a slash before.

    Args:
        groups: The groups of a plan.
        base_lr: The LR of the config, of which other LRs are multiples.

    >>> names = [("blocks.0.w", "blocks.1.w"), ("blocks.0.b", "blocks.1.b"), ("head.weight", "head.bias")]
    >>> decays = [0.05, 0.0, 0.05]
    >>> group_names([Group("adamw", {"lr": 0.1, "weight_decay": decay}, params, (), "fused")
    ...              for decay, params in zip(decays, names)], base_lr=0.1)
    ('blocks/decay', 'blocks/no_decay', 'head')
    """
    places = [group.name or place for group, place in zip(groups, _places(groups), strict=True)]
    same: dict[str, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        same[place].append(index)
    words = [[place] if place else [] for place in places]
    for indices in same.values():
        if len(indices) > 1:
            _add_differences([groups[index] for index in indices], [words[index] for index in indices], base_lr)
    unnamed = "all" if len(groups) == 1 else "rest"
    return unique_names(["/".join([UNSAFE.sub("_", word) for word in each]) or unnamed for each in words])


def unique_names(wanted: Iterable[str], taken: Container[str] = ()) -> tuple[str, ...]:
    """Return names of which no two are equal, nor equal to one that is taken; the later ones get a number.

    >>> unique_names(["head", "head"], taken={"head"})
    ('head_2', 'head_3')
    """
    found: dict[str, None] = {}
    counts: dict[str, int] = {}
    for name in wanted:
        free = name
        while free in found or free in taken:
            counts[name] = counts.get(name, 1) + 1
            free = f"{name}_{counts[name]}"
        found[free] = None
    return tuple(found)


def place_of(names: Sequence[str]) -> str:
    """Return the module that has all of some parameters; a single parameter is its own place.

    >>> place_of(["stem.conv.weight", "stem.conv.bias"]), place_of(["stem.conv.bias"])
    ('stem.conv', 'stem.conv.bias')
    """
    return names[0] if len(names) == 1 else ".".join(_module(names))


def _places(groups: Sequence[Group]) -> list[str]:
    """Return where the parameters of each group are, without the modules that all of them are in."""
    filled = [group.params for group in groups if group.params]
    shared = _module([end for params in filled for end in (min(params), max(params))]) if filled else ()
    modules = [_module(group.params) if len(group.params) > 1 else () for group in groups]
    own = [_segments(group.params, len(module)) for group, module in zip(groups, modules, strict=True)]
    counted = {module for module, children in zip(modules, own, strict=True) if all(map(str.isdecimal, children))}
    every = _children(filled, {shared, *counted})
    if shared and any(map(str.isdecimal, every[shared])):
        shared = shared[:-1]  # a number says nothing without the module that it is in
    return [
        _place(module, len(shared), children, every.get(module, ()))
        if len(group.params) > 1
        else next(iter(group.params), "").removeprefix(".".join([*shared, ""]))
        for group, module, children in zip(groups, modules, own, strict=True)
    ]


def _place(module: Sequence[str], shared: int, own: Sequence[str], every: Container[str]) -> str:
    """Return a module, and which of its children it is, where these are a range of numbers, or two at the top.

    Args:
        module: The module that has all parameters of a group.
        shared: How many of its segments are left out.
        own: Its children that have some of them.
        every: Its children that have parameters of any group, where that matters.
    """
    if set(own) == every:
        own = []
    elif all(map(str.isdecimal, own)):
        own = _ends(sorted(map(int, own)))
    elif len(module) > shared or len(own) > 2:
        own = []
    return ".".join([*module[shared:], *(["-".join(own)] if own else [])])


def _segments(names: Iterable[str], depth: int) -> list[str]:
    """Return the distinct segments of some names at a depth."""
    return list(dict.fromkeys([name.split(".", depth + 1)[depth] for name in names]))


def _children(every: Iterable[Sequence[str]], modules: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], set[str]]:
    """Return the children of some modules, among the parameters of all groups."""
    depths = {len(module) for module in modules}
    found: dict[tuple[str, ...], set[str]] = {module: set() for module in modules}
    for name in chain.from_iterable(every):
        path = name.split(".")
        for depth in depths:
            if depth < len(path) and (children := found.get(tuple(path[:depth]))) is not None:
                children.add(path[depth])
    return found


def _ends(numbers: Sequence[int]) -> list[str]:
    """Return the first and the last of numbers that follow each other; nothing for others."""
    follow = numbers[-1] - numbers[0] == len(numbers) - 1
    return list(dict.fromkeys([str(numbers[0]), str(numbers[-1])])) if follow else []


def _module(names: Sequence[str]) -> tuple[str, ...]:
    """Return the segments of the module that has all of some parameters, which the first and the last by name tell."""
    first, last = min(names).split(".")[:-1], max(names).split(".")[:-1]
    pairs = zip(first, last, strict=False)
    differing = next((depth for depth, (one, other) in enumerate(pairs) if one != other), min(len(first), len(last)))
    return tuple(first[:differing])


def _add_differences(groups: Sequence[Group], words: Sequence[list[str]], base_lr: float | None) -> None:
    """Add to the words of each group what tells it from the others, as little as is enough."""
    options = [{MEMBER: group.optimizer, **group.options} for group in groups]
    parts, count = [0] * len(groups), 1
    for key in dict.fromkeys([*FIRST, *(key for each in options for key in each)]):
        values = [each.get(key) for each in options]
        numbers: dict[tuple[int, str], int] = {}
        finer = [numbers.setdefault((part, repr(v)), len(numbers)) for part, v in zip(parts, values, strict=True)]
        if len(numbers) == count:
            continue
        parts, count = finer, len(numbers)
        several = key == "weight_decay" and len({repr(value) for value in values if value}) > 1
        for its_words, value in zip(words, values, strict=True):
            its_words.append(_word(key, value, several, base_lr))
        if count == len(groups):
            return


def _word(key: str, value: Any, several: bool, base_lr: float | None) -> str:
    if key == MEMBER:
        return str(value)
    if key == "weight_decay" and (not several or not value):
        return "decay" if value else "no_decay"
    if key == "lr" and base_lr and isinstance(value, (int, float)):
        return f"lr_x{value / base_lr:.4g}"
    if isinstance(value, bool):
        return key if value else f"no_{key}"
    values = value if isinstance(value, (list, tuple)) else [value]
    shown = "-".join([f"{each:g}" if isinstance(each, float) else str(each) for each in values])
    return f"{'decay' if key == 'weight_decay' else key}_{shown}"
