"""Options that a group holds and that nothing reads."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from optimbuild.auditing.examined import Examined, finding
from optimbuild.auditing.finding import Answer
from optimbuild.auditing.found import FoundGroup
from optimbuild.auditing.rates import SCALE, number
from optimbuild.auditing.settings import is_option
from optimbuild.checkpoint.group_options import IMPLEMENTATION
from optimbuild.messages import closest, listing

FACTORS = {"lr_mult": "lr", "decay_mult": "weight_decay"}
"""Factors that OpenMMLab's constructors multiply the options by, and leave in the groups."""


@finding("unread-option")
def unread_options(examined: Examined) -> Iterator[Answer]:
    """Keys of groups that are no options of the optimizer's class, and that its code does not mention."""
    groups_of: dict[tuple[str, str], list[FoundGroup]] = {}
    for _, group in examined.numbered():
        for key in sorted(unread_keys(group) - _meant(examined, group)):
            if _is_applied(key, group, examined):
                continue
            groups_of.setdefault((type(group.stepper).__name__, key), []).append(group)
    for (cls, key), groups in groups_of.items():
        close = closest(key, groups[0].stepper.defaults, n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        yield f"{cls} never reads {key!r}, which is in {listing([group.place for group in groups], 3)}{hint}", ()


def unread_keys(group: FoundGroup) -> set[str]:
    """Return the keys of a group that nothing reads."""
    known = group.stepper.defaults.keys() | group.kind.known | IMPLEMENTATION | {SCALE, *group.kind.group_marks}
    strange = {key for key in group.entries if is_option(key) and key not in known}
    cls: Any = type(group.stepper)
    return strange - texts_in(cls) if strange else set()


def _is_applied(key: str, group: FoundGroup, examined: Examined) -> bool:
    """Say whether a key is a factor that is in the group's option already, going by a group without the factor."""
    option, factor = FACTORS.get(key), number(group.entries.get(key))
    if option is None or factor is None:
        return False
    here = number(group.entries.get(option)) or 0.0
    others = [number(other.entries.get(option)) for other in examined.found.groups if key not in other.entries]
    return any(base is not None and math.isclose(base * factor, here) for base in others)


def _meant(examined: Examined, group: FoundGroup) -> set[str]:
    """Return the marks that the plan of a built optimizer gives to a group, for a hook to read."""
    built = examined.found.built
    if built is None:
        return set()
    return set(built.settings[built.chosen[group.positions[0]]].options or ())


@lru_cache(maxsize=256)
def texts_in(cls: Any) -> frozenset[str]:
    """Return the texts that the code of an optimizer's class, and of its module, has: its keys are among them.

    >>> import torch
    >>> {"lr", "momentum"} <= texts_in(torch.optim.SGD), "lr_mult" in texts_in(torch.optim.SGD)
    (True, False)
    """
    found: set[str] = set()
    for base in cls.__mro__[:-1]:
        functions = [*vars(base).values(), *vars(sys.modules.get(base.__module__, base)).values()]
        for function in functions:
            code = getattr(inspect.unwrap(function), "__code__", None) if isinstance(function, FunctionType) else None
            if code is not None:
                found.update(_texts(code))
    return frozenset(found)


def _texts(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _texts(constant)
