"""What an optimizer keeps for a parameter: the keys of its state, and the kind of value under each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.constructor import constructor_arguments, is_torchs
from optimbuild.checkpoint.group_options import NO_OPTIONS
from optimbuild.messages import shown
from optimbuild.plan.state_probe import left_empty, state_after_step, state_before_step, state_made_on_meta

T = TypeVar("T")


@dataclass(frozen=True)
class StateEntry:
    """One value that an optimizer keeps for a parameter.

    Args:
        kind: ``like``: a tensor of the parameter's shape; ``scalar``: a tensor without dimensions; ``nested``: a list,
            tuple or mapping;
            ``number``: a plain number; ``text``: a text; ``other``: a tensor of another shape; ``free``: one or the
            other of these, which depends on the parameter's values.
        dtype: The dtype of the tensor; None for a number.
        device: The device of the tensor; None for a number.
        shape: The shape of a tensor of another shape; None where it is not known.
    """

    kind: str
    dtype: torch.dtype | None = None
    device: torch.device | None = None
    shape: tuple[int, ...] | None = None


LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The whole numbers that a tensor can hold."""
STEP = "step"
"""The entry in which the optimizers of torch count steps."""

Entries = Mapping[str, StateEntry]

INDIFFERENT: Mapping[str, float] = {"lr": 1e-3, "weight_decay": 0.0}
"""Options that differ from group to group and do not decide what is kept; the probe takes these values."""


@dataclass(frozen=True)
class _Class:
    """An optimizer class with the options of a group, and the form of a tensor: all that decides what is kept.

    Its arguments are None where the constructor was given something that is not known any more.
    """

    cls: Any
    options: tuple[tuple[str, Any], ...]
    arguments: tuple[tuple[str, Any], ...] | None
    dtype: torch.dtype
    device: torch.device


def expected_state(optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor) -> Entries | None:
    """Return what an optimizer keeps for a parameter after a step, or None where that cannot be found out.

    Args:
        optimizer: The optimizer.
        group: The parameter's group, for the options that decide it (``amsgrad``, ``momentum``, ``fused``).
        param: The parameter.

    >>> weight = torch.nn.Parameter(torch.zeros(4, 3))
    >>> optimizer = torch.optim.AdamW([weight])
    >>> {key: entry.kind for key, entry in expected_state(optimizer, optimizer.param_groups[0], weight).items()}
    {'step': 'scalar', 'exp_avg': 'like', 'exp_avg_sq': 'like'}
    """
    asked = _asked(optimizer, group, param)
    tiny = _cached(_of_tiny)(asked, param.ndim)
    if tiny is None or not depends_on_shape(optimizer, tiny):
        return tiny
    return _cached(_of_shape)(asked, tuple(param.shape))


def depends_on_shape(optimizer: Optimizer, entries: Entries | None) -> bool:
    """Say whether what is kept may depend on more of a shape than its number of dimensions.

    It does where tensors of other shapes are kept, and may for any class that is not torch's own.
    """
    if entries is None:
        return False
    return any(entry.kind == "other" for entry in entries.values()) or not is_torchs(type(optimizer))


def starts_with_state(optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor) -> bool:
    """Say whether the constructor makes state for a parameter, without which no step can be taken."""
    return bool(_cached(_starts_with_state)(_asked(optimizer, group, param), param.ndim))


def initial_state(optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor) -> dict[str, Any]:
    """Return the state from which a parameter starts: what the constructor makes for it, most often nothing.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> optimizer = torch.optim.Adagrad([weight], initial_accumulator_value=0.5)
    >>> initial_state(optimizer, optimizer.param_groups[0], weight)["sum"]
    tensor([0.5000, 0.5000])
    """
    if not starts_with_state(optimizer, group, param):
        return {}
    asked = _asked(optimizer, group, param)
    return state_before_step(asked.cls, dict(asked.options), param, dict(asked.arguments or ()))


def empty_entries(optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor) -> dict[str, None]:
    """Return the entries that an optimizer keeps as None for a parameter, which no save has.

    By such an entry the optimizers of optimi know that a parameter has state, and without it they start afresh.
    """
    if is_torchs(type(optimizer)):
        return {}
    return dict.fromkeys(_cached(_left_empty)(_asked(optimizer, group, param), param.ndim))


@lru_cache(maxsize=1024)
def _left_empty(asked: _Class, ndim: int) -> tuple[str, ...]:
    try:
        shape, arguments = tuple(range(2, 2 + ndim)), dict(asked.arguments or ())
        return left_empty(asked.cls, dict(asked.options), shape, asked.dtype, asked.device, arguments)
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return ()


def _asked(optimizer: Optimizer, group: Mapping[str, Any], param: torch.Tensor) -> _Class:
    known = {key: value for key, value in group.items() if key in optimizer.defaults}
    given = {key: value if value is None else INDIFFERENT.get(key, value) for key, value in known.items()}
    arguments = constructor_arguments(optimizer, {**group, **given})
    return _Class(
        type(optimizer),
        tuple([(key, value) for key, value in given.items() if key not in NO_OPTIONS]),
        None if arguments is None else tuple(arguments.items()),
        param.dtype,
        param.device,
    )


def _cached(probe: Callable[..., T]) -> Callable[..., T]:
    """Return a cached function that also takes options without a hash, such as a list."""

    def call(asked: _Class, shape: Any) -> T:
        try:
            hash(asked)
        except TypeError:
            return cast(Any, probe).__wrapped__(asked, shape)  # type: ignore[no-any-return]
        return probe(asked, shape)

    return call


@lru_cache(maxsize=1024)
def _of_tiny(asked: _Class, ndim: int) -> Entries | None:
    if asked.arguments is None:
        return None
    shape = tuple(range(2, 2 + ndim))
    try:
        found = _after_step(asked, shape)
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return None
    return {key: replace(entry, shape=None) for key, entry in found.items()}


@lru_cache(maxsize=65536)
def _of_shape(asked: _Class, shape: tuple[int, ...]) -> Entries:
    """Return what is kept for a tensor of this very shape, whatever it takes to find out."""
    tiny = _cached(_of_tiny)(asked, len(shape)) or {}
    try:
        arguments = dict(asked.arguments or ())
        found, finished = state_made_on_meta(asked.cls, dict(asked.options), shape, asked.dtype, arguments)
        if not finished and found.keys() != tiny.keys():
            if not any(entry.kind in ("other", "free") for entry in tiny.values()):
                return tiny  # a step on a real tensor of this size, only to see what a tiny one showed already
            return _after_step(asked, shape)
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return tiny
    return {key: _placed(_entry(value, shape), tiny.get(key), asked.device) for key, value in found.items()}


def _after_step(asked: _Class, shape: tuple[int, ...]) -> Entries:
    """Return what a real step makes; what depends on the values of the tensor may be anything."""

    def found(value: float) -> Entries:
        arguments = dict(asked.arguments or ())
        state = state_after_step(
            asked.cls, dict(asked.options), shape, asked.dtype, asked.device, arguments, value=value
        )
        return {key: _entry(value, shape) for key, value in state.items()}

    zeros = found(0.0)
    if is_torchs(asked.cls):
        return zeros
    ones = found(1.0)
    return {key: entry if ones.get(key) == entry else StateEntry("free") for key, entry in zeros.items()}


@lru_cache(maxsize=1024)
def _starts_with_state(asked: _Class, ndim: int) -> bool:
    tiny = torch.zeros((2,) * ndim, dtype=asked.dtype, device=asked.device)
    try:
        return bool(state_before_step(asked.cls, dict(asked.options), tiny, dict(asked.arguments or ())))
    except Exception:  # noqa: BLE001  # a foreign optimizer may raise anything
        return False


def is_nested(value: Any) -> bool:
    """Say whether a value holds others, as the lists of tensors that LBFGS keeps."""
    return isinstance(value, (list, tuple, Mapping))


def _entry(value: Any, shape: tuple[int, ...]) -> StateEntry:
    if is_nested(value):
        return StateEntry("nested")
    if not isinstance(value, torch.Tensor):
        return StateEntry("text" if isinstance(value, str) else "number")
    kind = "scalar" if value.ndim == 0 else "like" if value.shape == shape else "other"
    return StateEntry(kind, value.dtype, value.device, tuple(value.shape) if kind == "other" else None)


def _placed(entry: StateEntry, tiny: StateEntry | None, device: torch.device) -> StateEntry:
    """Return an entry on the device where a real step keeps it, and not on the meta device."""
    if entry.device is None:
        return entry
    return replace(entry, device=device if tiny is None or tiny.device is None else tiny.device)


def mismatch(value: Any, entry: StateEntry | None, param: torch.Tensor) -> str:
    """Say how a saved value differs from what the optimizer keeps; an empty text where it fits.

    >>> mismatch(torch.zeros(2), StateEntry("like", torch.float32), torch.zeros(3))
    '(2,) saved, (3,) here'
    """
    if not isinstance(value, torch.Tensor):
        if not isinstance(value, (int, float, str)):
            return f"{shown(value)} saved, which is neither tensor nor number"
        return _number_mismatch(value, entry, param)
    if value.layout != torch.strided or (value.is_complex() and not param.is_complex()):
        return f"a tensor saved that is {'complex' if value.is_complex() else 'sparse'}"
    if entry is None or entry.kind == "free":
        return ""
    if entry.kind == "like":
        if value.shape != param.shape:
            return f"{tuple(value.shape)} saved, {tuple(param.shape)} here"
        if value.dtype != entry.dtype:
            return f"{_dtype_name(value.dtype)} saved, {_dtype_name(entry.dtype)} here"
    elif entry.kind == "other":
        if entry.shape is not None and value.shape != entry.shape:
            return f"{tuple(value.shape)} saved, {entry.shape} here"
        if value.dtype != entry.dtype:
            return f"{_dtype_name(value.dtype)} saved, {_dtype_name(entry.dtype)} here"
    elif value.numel() != 1 or entry.kind == "text":
        return f"{tuple(value.shape)} saved, a {'text' if entry.kind == 'text' else 'single number'} here"
    return ""


def below_zero(value: Any) -> str:
    """Say that a count of steps is below 0, from which a step may divide by 0; an empty text where it is not.

    >>> below_zero(torch.tensor(-1.0)), below_zero(3)
    ('-1.0 steps saved', '')
    """
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex() or value.is_meta:
            return ""
        value = value.item()
    return f"{value} steps saved" if isinstance(value, (int, float)) and value < 0 else ""


def _number_mismatch(value: Any, entry: StateEntry | None, param: torch.Tensor) -> str:
    if isinstance(value, int) and not LOWEST <= value <= HIGHEST:
        return f"the number {shown(value)} saved, which has more than 64 bits"
    if entry is None or entry.kind in ("free", "text" if isinstance(value, str) else "number"):
        return ""
    if entry.kind == "scalar" and not isinstance(value, str):
        return ""
    here = f"a {entry.kind}" if entry.kind in ("number", "text") else f"a tensor of shape {tuple(param.shape)}"
    return f"the number {shown(value)} saved, {here} here"


def _dtype_name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
