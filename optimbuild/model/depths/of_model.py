"""The depths of a model as a picture shows them: as the model answers, or as its names tell."""

from __future__ import annotations

from optimbuild.errors import OptimBuildError
from optimbuild.model.depths.depths import Depths
from optimbuild.model.depths.from_hints import depths_of, parts
from optimbuild.model.depths.from_names import from_names
from optimbuild.model.inventory import Inventory


def depths_of_model(model: Inventory) -> Depths | None:
    """Return the depths that a model's own methods give, or else its names; None where neither does.

    >>> from optimbuild.model.param_info import ParamInfo
    >>> names = ("blocks.0.weight", "blocks.1.weight", "head.weight")
    >>> depths_of_model(Inventory([ParamInfo(name, (4, 4)) for name in names])).layer_of["blocks.1.weight"]
    1
    >>> depths_of_model(Inventory([ParamInfo("weight", (4, 4))])) is None
    True
    """
    try:
        whole = [part for part in parts(model) if not part.prefix and part.hook != "lr_decay_keywords"]
        return depths_of(whole[0]) if whole else from_names(model)
    except OptimBuildError:  # no trunk, several of them, or an answer that is no depth
        return None
