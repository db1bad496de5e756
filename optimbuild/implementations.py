"""How the step of a group is computed: fused, foreach, or one tensor after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optimbuild.errors import ConfigError, listing
from optimbuild.optimizer_type import KERNELS, Implementation, OptimizerType
from optimbuild.params import ParamInfo
from optimbuild.spec import Spec

FUSABLE = frozenset(("float16", "bfloat16", "float32", "float64"))
"""The dtypes for which torch has fused kernels."""


def implementation(
    spec: Spec, kind: OptimizerType, options: Mapping[str, Any], params: Sequence[ParamInfo], unfused: Collection[str]
) -> Implementation:
    """Return how the step of a group is computed: the fastest that class and tensors support, or as told.

    Args:
        spec: The canonical config; its ``implementation`` may insist.
        kind: The group's optimizer.
        options: The group's options; ``fused`` or ``foreach`` among them is an order too.
        params: The group's parameters.
        unfused: Names that its fused kernel cannot take, for their sparse gradients, their device, or because
            they are shards.

    Raises:
        ConfigError: The config asks for one that the optimizer or the tensors do not support.
    """
    possible = kind.implementations
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
