"""How the step of a group is computed: fused, foreach, or one tensor after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optimbuild.errors import ConfigError, listing
from optimbuild.optimizer_type import KERNELS, Implementation, OptimizerType
from optimbuild.params import ParamInfo
from optimbuild.spec import Spec

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


def implementation(
    spec: Spec,
    kind: OptimizerType,
    options: Mapping[str, Any],
    params: Sequence[ParamInfo],
    unfused: Collection[str] = (),
    cpu_sizes: Sequence[int] | None = None,
) -> Implementation:
    """Return how the step of a group is computed: the fastest that class and tensors support, or as told.

    Args:
        spec: The canonical config; its ``implementation`` may insist.
        kind: The group's optimizer.
        options: The group's options; ``fused`` or ``foreach`` among them is an order too.
        params: The group's parameters.
        unfused: Names that its fused kernel cannot take, for their sparse gradients, their device, or because
            they are shards.
        cpu_sizes: The parameters' numbers of elements where all tensors are on the CPU, which is where they count.

    Raises:
        ConfigError: The config asks for one that the optimizer or the tensors do not support.
    """
    possible = kind.implementations if cpu_sizes is None else _on_cpu(kind, options, cpu_sizes)
    for kernel in KERNELS:
        if options.get(kernel):
            return kernel
    if options.get("differentiable") or options.get("foreach") is False:
        possible = ("for-loop",)
    # torch's fused SGD cannot start the momentum of one parameter after that of its group, unless nothing is dampened
    dampened = bool(options.get("dampening") and options.get("momentum"))
    unable = [param.name for param in params if param.dtype not in FUSABLE or param.name in unfused]
    if unable or dampened or options.get("fused") is False:
        possible = tuple(kernel for kernel in possible if kernel != "fused")
    if spec.implementation == "auto":
        return possible[0]
    if spec.implementation not in possible:
        reason = " with these options"
        if unable:
            reason = f" for {listing(unable, 5)} (dtype, device, sparse gradients or DTensor)"
        raise ConfigError(
            f"{kind.name} has no {spec.implementation} implementation{reason}. It has: {', '.join(possible)}.",
            "implementation",
        )
    return spec.implementation


def _on_cpu(kind: OptimizerType, options: Mapping[str, Any], sizes: Sequence[int]) -> tuple[Implementation, ...]:
    """Return what the class can run as on a CPU, fastest first.

    The bounds were measured on one CPU of two cores; ``python -m benchmarks step`` compares the choice with the others.

    A fused kernel is fastest where there is one, except that SGD without momentum leaves little to fuse. A loop is
    faster than foreach for few tensors, and for large ones.
    """
    order: tuple[Implementation, ...] = ("fused", "foreach", "for-loop")
    loop_first: tuple[Implementation, ...] = ("for-loop", "foreach", "fused")
    if kind.is_sgd and not options.get("momentum") and not options.get("maximize"):
        if options.get("weight_decay"):  # two operations a tensor, which the fused kernel does in one pass
            few = len(sizes) == 1 and sizes[0] < BETWEEN.stop
        else:
            few = len(sizes) <= FEW_PLAIN
            if sum(size in BETWEEN for size in sizes) * 2 > len(sizes):
                order = ("foreach", "fused", "for-loop")
        order = loop_first if few else order
    elif len(sizes) <= FEW or sum(sizes) > CACHED:
        order = ("fused", "for-loop", "foreach")
    return tuple([kernel for kernel in order if kernel in kind.implementations])
