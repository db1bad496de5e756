"""Depths: the layer of every parameter that some layer claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optimbuild.model.param_info import ParamInfo


@dataclass(frozen=True)
class Depths:
    """The layer of every parameter that some layer claims.

    Args:
        layer_of: By name, counted from the input.
        layers: The number of layers.
        source: Where the depths come from, in words.
        patterns: What the patterns of ``layers`` match: the path of the option, the pattern, and the parameters.
        taken: By the path of an option of which earlier ones take all parameters, the paths of those.
    """

    layer_of: Mapping[str, int]
    layers: int
    source: str
    patterns: Sequence[tuple[str, str, Sequence[ParamInfo]]] = ()
    taken: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def members(self, params: Sequence[ParamInfo]) -> dict[int, list[ParamInfo]]:
        """Return the parameters by their layer, both in model order; those without a layer are left out."""
        found: dict[int, list[ParamInfo]] = {}
        for param in params:
            layer = self.layer_of.get(param.name)
            if layer is not None:
                found.setdefault(layer, []).append(param)
        return found
