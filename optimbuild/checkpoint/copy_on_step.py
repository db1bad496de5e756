"""Loaded tensors belong to the optimizer alone before a step changes them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim import Optimizer


class _CopyBeforeStep:
    """A hook before each step, which acts at the first step after a load."""

    armed = True

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        del args, kwargs
        if self.armed:
            self.armed = False
            copy_shared(optimizer.state.values())


_hooks: WeakKeyDictionary[Optimizer, _CopyBeforeStep] = WeakKeyDictionary()


def copy_shared_at_next_step(optimizer: Optimizer) -> None:
    """Have an optimizer copy, before its next step, the state tensors that something else still refers to.

    Loading keeps the given tensors where it can, as torch does, and a step changes them in place. Without the copy a
    state dict that is still there would change too, and two optimizers that loaded it would share their moments. Where
    the dict is gone by the next step, nothing is copied.

    The copy keeps the others from this optimizer's steps, and not this one from theirs: an optimizer whose own
    ``state_dict()`` was loaded here still writes into the tensors that it shares, if it steps first.

    Args:
        optimizer: The one that was loaded into.
    """
    if optimizer in _hooks:
        _hooks[optimizer].armed = True
        return
    _hooks[optimizer] = hook = _CopyBeforeStep()
    optimizer.register_step_pre_hook(hook)


@torch._disable_dynamo  # type: ignore[attr-defined]  # counts references, which cannot be compiled; the public name would import the compiler
def copy_shared(state: Iterable[MutableMapping[str, Any]]) -> int:
    """Replace each tensor that something else refers to by a copy, and return how many there were.

    >>> kept = torch.zeros(2)
    >>> state = [{"a": kept, "b": torch.zeros(2)}]
    >>> copy_shared(state), state[0]["a"] is kept
    (1, False)
    """
    alone = _references({"only": torch.empty(0)})["only"]
    copies = 0
    for entries in state:
        for key, count in _references(entries).items():
            if count > alone:
                entries[key] = entries[key].clone()
                copies += 1
    return copies


def _references(entries: MutableMapping[str, Any]) -> dict[str, int]:
    """Count the references to each tensor, including those of this loop."""
    counts = {}
    for key, value in entries.items():
        if isinstance(value, torch.Tensor):
            counts[key] = sys.getrefcount(value)
    return counts
