"""Marks: what the makers of a model wrote on a tensor about its optimization, such as ``_no_weight_decay``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model.param_info import NOTHING
from optimbuild.values import plain

CONVENTIONS = ("_no_weight_decay", "_optim")
"""The marks that published projects set, and that rules of ours read."""

_ABOUT_OPTIMIZATION = re.compile(r"(^|_)(optim\w*|lr|wd|(no_)?(weight_)?decay)(_|$)", re.IGNORECASE)


def marks_of(tensor: object) -> Mapping[str, Any]:
    """Return the attributes of a tensor that speak of optimization and are plain data.

    These are ``_no_weight_decay`` (Mamba), ``_optim`` (S4), and whatever else is named for a learning rate, a weight
    decay or an optimizer, such as ``lr_mul`` and ``wd_mul``. What a library notes for itself is left out.

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
                found[name] = plain(_numbers(value))
            except ConfigError:
                if name in CONVENTIONS:  # it is meant, so whoever reads it must hear of it
                    found[name] = shown(value)
    return found or NOTHING


def _numbers(value: Any) -> Any:
    """Return single numbers of torch and numpy as Python's own, also in mappings."""
    if isinstance(value, Mapping):
        return {key: _numbers(item) for key, item in value.items()}
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "size", None) is not None and _is_single(value) else value


def _is_single(value: Any) -> bool:
    return getattr(value, "ndim", 1) == 0 or (callable(getattr(value, "numel", None)) and value.numel() == 1)
