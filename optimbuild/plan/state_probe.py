"""What an optimizer class keeps for a tensor, and whether it needs a closure, found out by one step."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from optimbuild.messages import shown


def state_after_step(
    cls: Any,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | str,
    arguments: Mapping[str, Any] | None = None,
    value: float = 0.0,
) -> dict[str, Any]:
    """Return the state that an optimizer keeps for a tensor after one step with a gradient of zeros.

    The class is asked, not a table, so a user's own optimizer is described as well as torch's.

    Args:
        cls: The optimizer's class.
        options: The options of the tensor's group.
        shape: The tensor's shape.
        dtype: Its dtype.
        device: Where it is; ``meta`` takes no memory, but some optimizers must read values.
        arguments: What the constructor gets beside the groups.
        value: What all elements of the tensor are; some optimizers keep less for zeros.

    Returns:
        By key, what is kept: tensors, numbers, or whatever the class keeps. Entries that are None are left out.

    Raises:
        Exception: Whatever the class raises, such as for want of a closure.

    >>> {key: tuple(value.shape) for key, value in
    ...  state_after_step(torch.optim.AdamW, {"lr": 0.1}, (4, 3), torch.float32, "meta").items()}
    {'step': (), 'exp_avg': (4, 3), 'exp_avg_sq': (4, 3)}
    """
    probe = _Probe(cls, options, torch.full(shape, value, dtype=dtype, device=device), arguments)
    probe.step()
    return probe.state()


def refusal(cls: Any, options: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    """Return the words in which a class refuses a tensor when it is constructed; empty where it takes it.

    Args:
        cls: The optimizer's class.
        options: What it is constructed with.
        shape: The shape of the tensor, which is on the meta device.

    >>> refusal(torch.optim.Adam, {"lr": 0.1}, (4,)), refusal(torch.optim.Adam, {"lr": -1.0}, (4,))
    ('', "ValueError: 'Invalid learning rate: -1.0'")
    """
    try:
        cls([nn.Parameter(torch.empty(shape, device="meta"))], **options)
    except Exception as error:  # noqa: BLE001  # a foreign class may raise anything
        return f"{type(error).__name__}: {shown(str(error), 200)}"
    return ""


def needs_closure(cls: Any, options: Mapping[str, Any], dimensions: int = 2) -> bool:
    """Say whether a class takes a step only with a closure.

    Its step has no default for the closure, or fails without one and goes through with one.

    Args:
        cls: The optimizer's class, or a function that constructs it.
        options: What it is constructed with.
        dimensions: The number of dimensions of the tensor that is stepped.

    >>> needs_closure(torch.optim.LBFGS, {"lr": 0.1}), needs_closure(torch.optim.SGD, {"lr": 0.1})
    (True, False)
    """
    tensor = torch.ones(tuple(range(2, 2 + dimensions)))
    try:
        demanded = _Probe(cls, {}, tensor, options).demands_closure
    except Exception:  # noqa: BLE001  # a foreign class may raise anything
        return False
    return demanded or (not _steps(cls, tensor, options, False) and _steps(cls, tensor, options, True))


def _steps(cls: Any, tensor: torch.Tensor, options: Mapping[str, Any], by_closure: bool) -> bool:
    try:
        _Probe(cls, {}, tensor.clone(), options).step(by_closure)
    except Exception:  # noqa: BLE001  # a foreign class may raise anything
        return False
    return True


def state_before_step(
    cls: Any, options: Mapping[str, Any], tensor: torch.Tensor, arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the state that an optimizer keeps for a tensor as soon as it is constructed; arguments are as above.

    >>> sorted(state_before_step(torch.optim.Adagrad, {}, torch.zeros(2)))
    ['step', 'sum']
    """
    return _Probe(cls, options, tensor.detach().clone(), arguments).state()


def state_made_on_meta(
    cls: Any,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], bool]:
    """Return the state that a step makes on the meta device, and whether the step went through.

    A step that must read values makes its state first, and then ends in an error.
    """
    probe = _Probe(cls, options, torch.zeros(shape, dtype=dtype, device="meta"), arguments)
    try:
        probe.step()
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return probe.state(), False
    return probe.state(), True


def left_empty(
    cls: Any,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | str,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Return the keys under which an optimizer keeps None for a tensor after one step; arguments are as above."""
    probe = _Probe(cls, options, torch.zeros(shape, dtype=dtype, device=device), arguments)
    probe.step()
    return probe.left_empty()


def group_after_step(
    cls: Any, options: Mapping[str, Any], arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the group of a small tensor as a step leaves it, which some optimizers count in; as above.

    >>> group_after_step(torch.optim.SGD, {"lr": 0.1})["lr"]
    0.1
    """
    probe = _Probe(cls, options, torch.zeros(2, 3), arguments)
    probe.step()
    return probe.group()


def _uncompiled() -> AbstractContextManager[Any]:
    """Compile no part of a step, which would take seconds; nothing is compiled before dynamo is imported."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class _Probe:
    """An optimizer of one tensor, whose gradient is zero."""

    def __init__(
        self, cls: Any, options: Mapping[str, Any], tensor: torch.Tensor, arguments: Mapping[str, Any] | None
    ) -> None:
        self._tensor = nn.Parameter(tensor)
        self._tensor.grad = torch.zeros_like(self._tensor)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            self._optimizer = cls([{"params": [self._tensor], **options}], **(arguments or {}))
            if callable(train := getattr(self._optimizer, "train", None)):
                train()  # schedule-free optimizers refuse a step before

    @property
    def _step(self) -> Callable[..., Any]:
        """The step of the class, without the hooks that torch has on the steps of all optimizers."""
        return inspect.unwrap(type(self._optimizer).step)  # type: ignore[no-any-return]

    @property
    def demands_closure(self) -> bool:
        closure = inspect.signature(self._step).parameters.get("closure")
        return closure is not None and closure.default is closure.empty

    def step(self, by_closure: bool = False) -> None:
        with warnings.catch_warnings(), torch.no_grad(), _uncompiled():
            warnings.simplefilter("ignore")
            self._step(self._optimizer, *[self._closure] * by_closure)

    def _closure(self) -> torch.Tensor:
        return self._tensor.sum()  # and the gradient stays as it is

    def state(self) -> dict[str, Any]:
        found = self._optimizer.state.get(self._tensor, {})
        return {key: value for key, value in found.items() if value is not None}

    def left_empty(self) -> tuple[str, ...]:
        return tuple([key for key, value in self._optimizer.state.get(self._tensor, {}).items() if value is None])

    def group(self) -> dict[str, Any]:
        found: dict[str, Any] = self._optimizer.param_groups[0]
        return found
