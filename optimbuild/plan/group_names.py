"""Short names of groups, for whoever logs them: where their parameters are, and what tells them from others there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
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

    >>> names = [("0.weight", "1.weight"), ("0.bias", "1.bias"), ("head.weight", "head.bias")]
    >>> decays = [0.05, 0.0, 0.05]
    >>> group_names([Group("adamw", {"lr": 0.1, "weight_decay": decay}, params, (), "fused")
    ...              for decay, params in zip(decays, names)], base_lr=0.1)
    ('0-1/decay', '0-1/no_decay', 'head')
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
    """Return the module that has all of some parameters, or at most two; a single parameter is its own place.

    >>> place_of(["stem.conv.weight", "stem.conv.bias"]), place_of(["stem.conv.bias", "head.bias"])
    ('stem.conv', 'stem-head')
    """
    return _place(names, 0, ())


def _places(groups: Sequence[Group]) -> list[str]:
    full = [group.params for group in groups if group.params]
    shared = len(_common([end for params in full for end in (min(params), max(params))])) if full else 0
    everywhere = {_segment(name, shared) for params in full for name in params}
    if shared and any(map(str.isdecimal, everywhere)):  # a number says nothing without the module that it is in
        shared -= 1
        everywhere = {_segment(full[0][0], shared)}
    return [_place(group.params, shared, everywhere) for group in groups]


def _place(names: Sequence[str], shared: int, everywhere: Container[str]) -> str:
    """Return where parameters are: the name of a single one, or a module, with its numbers where they are a range.

    Args:
        names: Their names.
        shared: How many segments the names of all groups have in common, which are left out.
        everywhere: The children behind these; a group that has all of them has no place.
    """
    if len(names) < 2:
        return ".".join(names[0].split(".")[shared:]) if names else ""
    module = _common(names)
    children = list(dict.fromkeys([_segment(name, len(module)) for name in names]))
    if len(module) == shared and set(children) == everywhere:
        return ""
    if all(map(str.isdecimal, children)):
        children = _ends(sorted(map(int, children)))
    elif len(module) > shared or len(children) > 2:
        children = []
    return ".".join([*module[shared:], *(["-".join(children)] if children else [])])


def _ends(numbers: Sequence[int]) -> list[str]:
    """Return the first and the last of numbers that follow each other; nothing for others."""
    follow = numbers[-1] - numbers[0] == len(numbers) - 1
    return list(dict.fromkeys([str(numbers[0]), str(numbers[-1])])) if follow else []


def _segment(name: str, depth: int) -> str:
    return name.split(".", depth + 1)[depth]


def _common(names: Sequence[str]) -> list[str]:
    """Return the modules around all of some names; those around the first and the last in their order are enough."""
    first, last = min(names).split(".")[:-1], max(names).split(".")[:-1]
    pairs = zip(first, last, strict=False)
    differing = next((depth for depth, (one, other) in enumerate(pairs) if one != other), min(len(first), len(last)))
    return first[:differing]


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
