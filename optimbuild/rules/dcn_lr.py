"""An LR factor for deformable convolutions."""

from __future__ import annotations

from collections.abc import Callable

from optimbuild.edits import Bound, Edit
from optimbuild.model._columns import Column
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import rule
from optimbuild.values import Keyword, Positive

KEYWORDS = ("offset", "attention_weights", "center_feature_scale_proj", "alpha_beta")
"""The pieces of names by which InternImage finds the parameters that steer its sampling."""


@rule("dcn_lr")
class DcnLr:
    """Give the parameters that steer deformable convolutions their own LR factor.

    A keyword matches any piece of a name: the convention of InternImage, whose ``DCN_LR_MUL`` this
    is. It applies whether or not layer decay is on.

    Example:
        ``{type: dcn_lr, factor: 0.1}``
    """

    factor: Positive
    """The factor of the learning rate, above 0."""
    keywords: tuple[Keyword, ...] = KEYWORDS
    """Pieces of names."""

    def bind(self, inventory: Inventory) -> Callable[[ParamInfo], Edit | None]:
        """Find the parameters; keywords that were given, and not only defaulted, must each touch one."""
        found = [inventory.positions_containing(keyword) for keyword in self.keywords]
        numbers = [0] * len(inventory)
        for number in range(len(found), 0, -1):  # the first keyword counts
            for position in found[number - 1]:
                numbers[position] = number
        edits = [Edit(scale={"lr": self.factor}, why=f"name contains {keyword!r}") for keyword in self.keywords]
        patterns = [
            (f"keywords[{i}]", keyword, [inventory.params[position] for position in positions])
            for i, (keyword, positions) in enumerate(zip(self.keywords, found, strict=True))
            if self.keywords != KEYWORDS
        ]
        return Bound(Column(inventory.names, numbers, [None, *edits]), patterns)
