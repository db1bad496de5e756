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
    probe = _Probe(cls, options, shape, dtype, device, arguments)
    probe.step()
    return probe.state()


def state_before_step(
    cls: Any, options: Mapping[str, Any], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str
) -> dict[str, Any]:
    """Return the state that an optimizer keeps as soon as it is constructed; arguments are as above.

    >>> sorted(state_before_step(torch.optim.Adagrad, {}, (2,), torch.float32, "cpu"))
    ['step', 'sum']
    """
    return _Probe(cls, options, shape, dtype, device).state()


def state_made_on_meta(
    cls: Any, options: Mapping[str, Any], shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[dict[str, Any], bool]:
    """Return the state that a step makes on the meta device, and whether the step went through.

    A step that must read values makes its state first, and then ends in an error.
    """
    probe = _Probe(cls, options, shape, dtype, "meta")
    try:
        probe.step()
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return probe.state(), False
    return probe.state(), True


class _Probe:
    """An optimizer of one tensor of zeros, whose gradient is zero."""

    def __init__(
        self,
        cls: Any,
        options: Mapping[str, Any],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device | str,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._cls = cls
        self._tensor = nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
        self._tensor.grad = torch.zeros_like(self._tensor)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            self._optimizer = cls([{"params": [self._tensor], **options}], **(arguments or {}))
            if callable(train := getattr(self._optimizer, "train", None)):
                train()  # schedule-free optimizers refuse a step before

    def step(self) -> None:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            inspect.unwrap(self._cls.step)(self._optimizer)  # without the hooks that are on the steps of all optimizers

    def state(self) -> dict[str, Any]:
        found = self._optimizer.state.get(self._tensor, {})
        return {key: value for key, value in found.items() if value is not None}
