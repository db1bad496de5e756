"""Marks: what the makers of a model wrote on a tensor about its optimization, such as ``_no_weight_decay``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from optimbuild.messages import shown
from optimbuild.model.param_info import NOTHING
from optimbuild.values import MAX_DEPTH, MAX_VALUES, plain

NO_DECAY = "_no_weight_decay"
"""The mark that Mamba sets on tensors that shall not be decayed."""

OPTIONS = "_optim"
"""The mark with which S4 and Hyena give a tensor options of its own."""

READERS: Mapping[str, str] = {NO_DECAY: "no_decay", OPTIONS: "marks"}
"""The marks that published projects set, and the rule of ours that reads each."""

_ABOUT_OPTIMIZATION = re.compile(r"(^|_)(optim\w*|lr|wd|(no_)?(weight_)?decay)(_|$)", re.IGNORECASE)


def marks_of(tensor: object) -> Mapping[str, Any]:
    """Return the attributes of a tensor that speak of optimization and are plain data.

    These are ``_no_weight_decay`` (Mamba), ``_optim`` (S4), and whatever else is named for a learning rate, a weight
    decay or an optimizer, such as ``lr_mul`` and ``wd_mul``. What a library notes for itself is left out. Tensors with
    one element count as numbers. One of the first two that is no plain data, or that a tensor on the meta device
    stands in, is kept as text, so that whoever reads it can say so; another one is left out.

    >>> import torch
    >>> tensor = torch.nn.Parameter(torch.zeros(2))
    >>> tensor._no_weight_decay, tensor._is_hf_initialized = True, True
    >>> dict(marks_of(tensor))
    {'_no_weight_decay': True}
    """
    found = {}
    for name, value in vars(tensor).items():
        if _ABOUT_OPTIMIZATION.search(name):
            try:
                found[name] = plain(_with_numbers(value, 0, iter(range(MAX_VALUES))))
            except Exception:  # noqa: BLE001  # what somebody wrote on a tensor may be anything
                if name in READERS:
                    found[name] = shown(value)
    return found or NOTHING


def _with_numbers(value: Any, depth: int, budget: Iterator[int]) -> Any:
    """Return the value with single numbers of torch and numpy as Python's own.

    What is too deep or too much stays as it is, for :func:`~optimbuild.values.plain` to refuse.
    """
    if depth > MAX_DEPTH or next(budget, None) is None:
        return value
    if isinstance(value, Mapping):
        return {key: _with_numbers(item, depth + 1, budget) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple([_with_numbers(item, depth + 1, budget) for item in value])
    return value.item() if _is_single(value) else value


def _is_single(value: Any) -> bool:
    """Say whether a value is a number of torch or numpy, or a tensor with one element."""
    if not callable(getattr(value, "item", None)):
        return False
    return getattr(value, "ndim", 1) == 0 or (callable(getattr(value, "numel", None)) and value.numel() == 1)
