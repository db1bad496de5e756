"""How many bytes of state an optimizer keeps for a parameter, where its registration does not declare it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.plan.state_probe import state_after_step
from optimbuild.registry.optimizer_type import OptimizerType


def probed(kind: OptimizerType, options: Mapping[str, Any], shape: tuple[int, ...], dtype: str) -> int:
    """Return how many bytes of tensors an optimizer keeps for a parameter of this shape after a step.

    The step is taken on the meta device, which holds no data; on the CPU by an optimizer that must
    read values.

    Args:
        kind: The optimizer.
        options: All of its options.
        shape: The parameter's shape.
        dtype: Its dtype, such as ``float32``.

    Raises:
        ConfigError: The optimizer takes no step on such a parameter.

    >>> probed(OptimizerType("adamax", "torch.optim:Adamax"), {"lr": 0.1}, (4, 4), "float32")
    132
    """
    # How large lr and weight_decay are changes no state, and they are what most groups differ in.
    arguments = kind.arguments(options)
    alike = {key: 1.0 if key in ("lr", "weight_decay") and value else value for key, value in arguments.items()}
    key = (kind.load(), repr(alike), shape, dtype)  # options may hold lists and mappings, which have no hash
    if key not in _KNOWN:
        _KNOWN[key] = _probed(kind, alike, shape, dtype)
    return _KNOWN[key]


_KNOWN: dict[tuple[type, str, tuple[int, ...], str], int] = {}
"""What was found, by class, options, shape and dtype."""


def _probed(kind: OptimizerType, options: Mapping[str, Any], shape: tuple[int, ...], dtype: str) -> int:
    for device in ("meta", "cpu"):
        try:
            # to the constructor, and not into the group, where they would override what it computes
            state = state_after_step(kind.load(), {}, shape, getattr(torch, dtype), device, arguments=dict(options))
            return _nbytes(state)
        except Exception as error:  # noqa: BLE001  # a foreign optimizer may raise anything
            refusal = error
    raise ConfigError(
        f"the state of {kind.name} cannot be foreseen: it takes no step on a {dtype} tensor of shape {shape}: "
        f"{type(refusal).__name__}: {shown(str(refusal), 200)}. Register it with `state=` to declare it.",
        "optimizer.type",
    ) from refusal


def _nbytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_nbytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_nbytes, value))
    return 0
