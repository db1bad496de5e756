"""How steps are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optimbuild.auditing.examined import Examined, finding, places
from optimbuild.auditing.finding import Answer
from optimbuild.auditing.found import FoundGroup
from optimbuild.config.spec import Spec
from optimbuild.plan.kernels import cannot_fuse, implementation


@finding("unused-fused-kernel")
def unused_fused_kernel(examined: Examined) -> Iterator[Answer]:
    """A fused kernel that class and tensors have, that would be the fastest, and that nobody asked for."""
    if not examined.found.is_live:
        return
    groups = [group for _, group in examined.numbered() if _is_open(group) and _would_fuse(group, examined)]
    if groups:
        positions = [position for group in groups for position in group.positions]
        name = type(groups[0].stepper).__name__
        text = (
            f"{places(groups)} of {name} could run fused, which torch does not choose by itself: {name}(…, fused=True)"
        )
        yield text, examined.found.names(sorted(positions))


def _is_open(group: FoundGroup) -> bool:
    """Say whether nobody has chosen how a group is stepped."""
    return group.entries.get("fused") is None and group.entries.get("foreach") is None


def _would_fuse(group: FoundGroup, examined: Examined) -> bool:
    if "fused" not in group.kind.implementations or group.entries.get("capturable"):
        return False
    model = examined.found.inventory
    params = [model.params[position] for position in group.positions if model.params[position].trainable]
    if not params:
        return False
    options: Mapping[str, Any] = group.entries
    shapes = [param.shape for param in params] if model.on_cpu else None
    spec = Spec.of({"optimizer": {"type": group.kind.name}})
    return implementation(spec, group.kind, options, cannot_fuse(model, group.kind, params), shapes) == "fused"
