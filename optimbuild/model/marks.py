"""Marks: what the makers of a model wrote on a tensor about its optimization, such as ``_no_weight_decay``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.model.param_info import NOTHING
from optimbuild.values import plain

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
                found[name] = plain(value)
            except ConfigError:  # no plain data, so nobody's mark
                continue
    return found or NOTHING
