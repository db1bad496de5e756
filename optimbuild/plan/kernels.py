"""How the step of a group is computed: fused, foreach, or one tensor after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.base_options import path_of
from optimbuild.registry.optimizer_type import KERNELS, Implementation, OptimizerType

FEW, FEW_PLAIN = 3, 5
"""Up to so many tensors a loop is done before a kernel for many of them has been prepared; the second one is for plain
SGD, which has least to do."""

CACHED = 2**20
"""Up to so many elements of a group foreach keeps in the cache what it makes on the way; beyond, a loop is faster."""

BETWEEN = range(17, 2**14)
"""Numbers of elements for which the fused kernel of plain SGD is slower than foreach: it starts its threads for each
tensor, and has too little to give to them."""

FUSABLE = frozenset(("float16", "bfloat16", "float32", "float64"))
"""The dtypes for which torch has fused kernels."""


def cannot_fuse(model: Inventory, kind: OptimizerType, params: Sequence[ParamInfo]) -> list[str]:
    """Return the names of the parameters that no fused kernel of an optimizer can take.

    Args:
        model: The inventory.
        kind: The optimizer.
        params: Some parameters of the model.
    """
    if kind.fuses_only_on_cpu and not model.on_cpu:
        return [param.name for param in params]
    out = model.unfused if kind.fuses_shards else model.unfused | model.sharded
    if not out and FUSABLE.issuperset({param.dtype for param in params}):
        return []
    return [param.name for param in params if param.name in out or param.dtype not in FUSABLE]


def implementation(
    spec: Spec,
    kind: OptimizerType,
    options: Mapping[str, Any],
    unable: Sequence[str] = (),
    cpu_shapes: Sequence[tuple[int, ...]] | None = None,
) -> Implementation:
    """Return how the step of a group is computed: the fastest that class and tensors support, or as told.

    Args:
        spec: The canonical config; its ``implementation`` may insist.
        kind: The group's optimizer.
        options: The group's options; ``fused`` or ``foreach`` among them is an order too.
        unable: Names of the group that a fused kernel cannot take, for their dtype, their sparse gradients, their
            device, or because they are shards.
        cpu_shapes: The parameters' shapes where all tensors are on the CPU, which is where they count.

    Raises:
        ConfigError: The config asks for one that the optimizer or the tensors do not support.
    """
    wanted, where = _wanted(spec, kind, options)
    possible = kind.implementations
    if options.get("differentiable") or options.get("foreach") is False:
        possible = ("for-loop",)
    # torch's fused SGD cannot start the momentum of one parameter after that of its group, unless nothing is dampened
    dampened = bool(options.get("dampening") and options.get("momentum"))
    if unable or dampened or options.get("fused") is False:
        possible = tuple(kernel for kernel in possible if kernel != "fused")
    if wanted == "auto":
        return possible[0] if cpu_shapes is None else _fastest_on_cpu(possible, kind, options, cpu_shapes)
    if wanted not in possible:
        reason = " with these options"
        if wanted == "fused" and unable:
            reason = f" for {listing(unable, 5)} (dtype, device, sparse gradients or DTensor)"
        raise ConfigError(f"{kind.name} has no {wanted} implementation{reason}. It has: {', '.join(possible)}.", where)
    return wanted


def _wanted(
    spec: Spec, kind: OptimizerType, options: Mapping[str, Any]
) -> tuple[Implementation | Literal["auto"], str]:
    """Return which implementation the config asks for, and by which of its keys.

    Raises:
        ConfigError: It asks for two.
    """
    asked: dict[Implementation, str] = {
        kernel: f"{path_of(spec, kind)}.{kernel}" for kernel in KERNELS if options.get(kernel)
    }
    if spec.implementation != "auto":
        asked.setdefault(spec.implementation, "implementation")
    if len(asked) > 1:
        (first, where), (second, other) = asked.items()
        raise ConfigError(f"asks for {first}, but `{other}` for {second}: a step is computed in one way.", where)
    return next(iter(asked.items()), ("auto", "implementation"))


def _fastest_on_cpu(
    possible: Sequence[Implementation],
    kind: OptimizerType,
    options: Mapping[str, Any],
    shapes: Sequence[tuple[int, ...]],
) -> Implementation:
    """Return the fastest of the implementations that are possible on a CPU.

    The bounds were measured on one CPU of two cores; ``python -m benchmarks step`` compares the choice with the others.

    A fused kernel is fastest where there is one, except that SGD without momentum leaves little to fuse. A loop is
    faster than foreach for few tensors, and for large ones.
    """
    if kind.is_sgd and not options.get("momentum") and not options.get("maximize"):
        order = _of_plain_sgd(bool(options.get("weight_decay")), list(map(math.prod, shapes)))
    elif possible[0] == "fused":
        return "fused"
    else:
        order = LOOP_FIRST if len(shapes) <= FEW or sum(map(math.prod, shapes)) > CACHED else KERNELS_FIRST
    return next(kernel for kernel in order if kernel in possible)


KERNELS_FIRST: tuple[Implementation, ...] = ("fused", "foreach", "for-loop")
LOOP_FIRST: tuple[Implementation, ...] = ("for-loop", "foreach", "fused")


def _of_plain_sgd(decays: bool, sizes: Sequence[int]) -> tuple[Implementation, ...]:
    """Return the order for SGD without momentum, by the tensors' numbers of elements."""
    if decays:  # two operations a tensor, which the fused kernel does in one pass
        return LOOP_FIRST if len(sizes) == 1 and sizes[0] < BETWEEN.stop else KERNELS_FIRST
    if len(sizes) <= FEW_PLAIN:
        return LOOP_FIRST
    mostly_between = sum(size in BETWEEN for size in sizes) * 2 > len(sizes)
    return ("foreach", "fused", "for-loop") if mostly_between else KERNELS_FIRST
