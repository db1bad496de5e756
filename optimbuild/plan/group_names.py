"""Short names of groups, for whoever logs them: where their parameters are, and what tells them from others there."""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from optimbuild.model.param_info import modules_around
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
    if UNSAFE.search("".join(chain.from_iterable(words))):
        words = [[UNSAFE.sub("_", word) for word in each] for each in words]
    return unique_names(["/".join(each) or unnamed for each in words])


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
    return names[0] if len(names) == 1 else _module_of(min(names), max(names))


def _places(groups: Sequence[Group]) -> list[str]:
    """Return where the parameters of each group are, without the modules that all of them are in."""
    ends = [(min(group.params), max(group.params)) if group.params else ("", "") for group in groups]
    lows, highs = [low for low, _ in ends if low], [high for _, high in ends]
    shared = _module_of(min(lows, default=""), max(highs, default=""))
    modules = [_module_of(*pair) if len(group.params) > 1 else "" for group, pair in zip(groups, ends, strict=True)]
    own = [
        _children(group.params, module) if module == shared or _may_be_numbered(group.params, module) else []
        for group, module in zip(groups, modules, strict=True)
    ]
    counted = {module for module, children in zip(modules, own, strict=True) if children and _are_numbers(children)}
    every = _all_children(groups, modules, counted - {shared})
    every[shared] = set(_children(lows, shared))  # a group below is in one child
    for module, children in zip(modules, own, strict=True):
        every[shared].update(children if module == shared else ())
    if shared and any(map(str.isdecimal, every[shared])):
        shared = shared.rpartition(".")[0]  # a number says nothing without the module that it is in
    start = _start(shared)
    return [
        _place(module, start, children, every.get(module, set()))
        if len(group.params) > 1
        else next(iter(group.params), "").removeprefix(start)
        for group, module, children in zip(groups, modules, own, strict=True)
    ]


def _place(module: str, start: str, own: Sequence[str], every: Collection[str]) -> str:
    """Return a module, and which of its children it is, where these are a range of numbers, or two at the top.

    Args:
        module: The module that has all parameters of a group.
        start: What is left out of its name.
        own: Its children that have some of them, where that may matter.
        every: Its children that have parameters of any group.
    """
    is_top = _start(module) == start
    if set(own) == every:
        own = []
    elif own and _are_numbers(own):
        own = _ends(sorted(map(int, own)))
    elif not is_top or len(own) > 2:
        own = []
    words = [] if is_top else [module.removeprefix(start)]
    return ".".join([*words, "-".join(own)] if own else words)


def _start(module: str) -> str:
    """Return what the names of the parameters of a module begin with."""
    return f"{module}." if module else ""


def _children(names: Iterable[str], module: str) -> list[str]:
    """Return the children of a module that have some of its parameters."""
    length = len(_start(module))
    return list(dict.fromkeys([name[length:].partition(".")[0] for name in names]))


def _all_children(groups: Sequence[Group], places: Sequence[str], modules: Collection[str]) -> dict[str, set[str]]:
    """Return the children of some modules that have parameters of any group.

    Args:
        groups: The groups.
        places: For each group the module that has all of its parameters; one of them says what a module above has.
        modules: The modules to look at.
    """
    above = {around for module in modules for around in modules_around(f"{module}.")}
    looked_at = [
        group.params if place in above else group.params[:1] for group, place in zip(groups, places, strict=True)
    ]
    names = sorted(chain.from_iterable(looked_at)) if modules else []
    found = {}
    for module in modules:
        start = _start(module)
        inside = names[bisect_left(names, start) : bisect_left(names, start + chr(sys.maxunicode))]
        found[module] = set(_children(inside, module))
    return found


def _may_be_numbered(names: Sequence[str], module: str) -> bool:
    """Say whether the first of some parameters is in a child of a module whose name begins with a digit."""
    return names[0][len(module) + 1 : len(module) + 2].isdecimal() if names and module else False


def _are_numbers(children: Iterable[str]) -> bool:
    return all(map(str.isdecimal, children))


def _ends(numbers: Sequence[int]) -> list[str]:
    """Return the first and the last of numbers that follow each other; nothing for others."""
    follow = numbers[-1] - numbers[0] == len(numbers) - 1
    return list(dict.fromkeys([str(numbers[0]), str(numbers[-1])])) if follow else []


def _module_of(first: str, last: str) -> str:
    """Return the module that has all parameters between two, by name."""
    module = first.rpartition(".")[0]
    while module and not last.startswith(f"{module}."):
        module = module.rpartition(".")[0]
    return module


def _add_differences(groups: Sequence[Group], words: Sequence[list[str]], base_lr: float | None) -> None:
    """Add to the words of each group what tells it from the others, as little as is enough."""
    parts, count = [0] * len(groups), 1
    for key in _keys(groups):
        values = [group.optimizer if key == MEMBER else group.options.get(key) for group in groups]
        if values.count(values[0]) == len(values) and len(set(map(type, values))) == 1:
            continue
        numbers: dict[tuple[int, str], int] = {}
        finer = [numbers.setdefault((part, repr(v)), len(numbers)) for part, v in zip(parts, values, strict=True)]
        if len(numbers) == count:
            continue
        parts, count = finer, len(numbers)
        several = key == "weight_decay" and len(set(filter(None, values))) > 1
        for its_words, value in zip(words, values, strict=True):
            its_words.append(_word(key, value, several, base_lr))
        if count == len(groups):
            return


def _keys(groups: Sequence[Group]) -> Iterator[str]:
    yield from FIRST  # which mostly are enough
    yield from dict.fromkeys([key for group in groups for key in group.options if key not in FIRST])


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
