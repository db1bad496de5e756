"""MMAction2's constructor for Video Swin Transformers: all pieces that a name contains count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimbuild.config.published import Published, Translation
from optimbuild.registry import constructor


@constructor("SwinOptimWrapperConstructor")
def swin(published: Published) -> Translation:
    """Read the constructor, for which ``paramwise_cfg`` itself is the table from pieces of names to factors."""
    table = published.paramwise_cfg
    if not table:
        return Translation()
    published.require_options("lr")
    paths = {"rules[0].table": published.cfg}
    if published.optimizer.options.get("weight_decay") is not None:
        return Translation([_rule(table)], paths=paths)
    decayed = [piece for piece, factors in table.items() if isinstance(factors, Mapping) and "decay_mult" in factors]
    left = {
        piece: {key: factor for key, factor in factors.items() if key != "decay_mult"} if piece in decayed else factors
        for piece, factors in table.items()
    }
    warning = f"{published.cfg}: decay_mult does nothing, because the optimizer is given no weight_decay"
    return Translation([_rule(left)], warnings=[warning] * bool(decayed), paths=paths)


def _rule(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "products", "table": table, "optional": True}
