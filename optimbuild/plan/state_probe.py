"""What an optimizer class keeps for a tensor, found out by letting it take one step."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def state_after_step(
    cls: Any,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | str,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the state that an optimizer keeps for a tensor of zeros after one step with a gradient of zeros.

    The class is asked, not a table, so a user's own optimizer is described as well as torch's.

    Args:
        cls: The optimizer's class.
        options: The options of the tensor's group.
        shape: The tensor's shape.
        dtype: Its dtype.
        device: Where it is; ``meta`` takes no memory, but some optimizers must read values.
        arguments: What the constructor gets beside the groups; None stands for nothing.

    Returns:
        By key, what is kept: tensors, numbers, or whatever the class keeps. Entries that are None are left out.

    Raises:
        Exception: Whatever the class raises, such as for want of a closure.

    >>> {key: tuple(value.shape) for key, value in
    ...  state_after_step(torch.optim.AdamW, {"lr": 0.1}, (4, 3), torch.float32, "meta").items()}
    {'step': (), 'exp_avg': (4, 3), 'exp_avg_sq': (4, 3)}
    """
    tensor = nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
    tensor.grad = torch.zeros_like(tensor)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        optimizer = cls([{"params": [tensor], **options}], **(arguments or {}))
        inspect.unwrap(cls.step)(optimizer)  # the bare step: hooks on the steps of all optimizers are not for this one
    return {key: value for key, value in optimizer.state.get(tensor, {}).items() if value is not None}
