"""What the constructor of an optimizer's class takes, and what it was given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch.optim import Optimizer


def is_torchs(cls: type) -> bool:
    """Say whether a class is one of torch's own optimizers."""
    return cls.__module__.startswith("torch.optim.")


def constructor_arguments(optimizer: Optimizer, group: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the class must be given beside the groups to make an optimizer like this one again.

    An argument is looked for in the group, and then among the optimizer's attributes of the same name.

    Args:
        optimizer: The optimizer.
        group: The group whose options count.

    Returns:
        The arguments; None where one was given that is neither an option nor an attribute.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    >>> constructor_arguments(optimizer, optimizer.param_groups[0])["momentum"]
    0.9
    """
    arguments = {}
    attributes = vars(optimizer)
    is_built = "plan" in attributes  # then each option that was given is in the groups
    cls: Any = type(optimizer)
    for name in _own_arguments(cls):
        if name in group:
            arguments[name] = group[name]
        elif name in attributes:
            arguments[name] = attributes[name]
        elif name not in optimizer.defaults and not is_built:
            return None
    return arguments


@lru_cache(maxsize=256)
def option_names(cls: Any) -> frozenset[str] | None:
    """Return the names of all options of a class and its ancestors; None where it takes any.

    >>> import torch
    >>> "decoupled_weight_decay" in option_names(torch.optim.AdamW)
    True
    """
    names: set[str] = set()
    takes_any = True
    for constructor in _constructors(cls):
        names.update(constructor)
        takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in constructor.values())
    return None if takes_any else frozenset(names)


@lru_cache(maxsize=256)
def _own_arguments(cls: Any) -> tuple[str, ...]:
    """Return the names that the constructor takes, and where it passes on any others, those of the next one."""
    names: dict[str, None] = {}
    for constructor in _constructors(cls):
        kinds = {name: one.kind for name, one in list(constructor.items())[2:]}  # after self and the parameters
        several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        names |= dict.fromkeys([name for name, kind in kinds.items() if kind not in several])
        if inspect.Parameter.VAR_KEYWORD not in kinds.values():
            break
    return tuple(names)


def _constructors(cls: type) -> list[Mapping[str, inspect.Parameter]]:
    """Return the parameters of each constructor from a class up to, and without, torch's ``Optimizer``."""
    before = cls.__mro__[: cls.__mro__.index(Optimizer)] if issubclass(cls, Optimizer) else ()
    return [inspect.signature(vars(one)["__init__"]).parameters for one in before if "__init__" in vars(one)]
