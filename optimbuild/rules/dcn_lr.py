"""An LR factor for deformable convolutions."""

from __future__ import annotations

from collections.abc import Callable

from optimbuild.edits import Bound, Edit
from optimbuild.params import Inventory, ParamInfo
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
        by_keyword = {k: Edit(scale={"lr": self.factor}, why=f"name contains {k!r}") for k in self.keywords}
        found = {keyword: inventory.containing(keyword) for keyword in self.keywords}
        edits = {param.name: by_keyword[k] for k in reversed(found) for param in found[k]}  # the first keyword counts
        patterns = [(f"keywords[{i}]", keyword, found[keyword]) for i, keyword in enumerate(self.keywords)]
        return Bound(edits, () if self.keywords == KEYWORDS else patterns)
