"""An LR factor for deformable convolutions."""

from __future__ import annotations

from collections.abc import Callable

from optimbuild.edits import Bound, Edit
from optimbuild.params import Inventory, ParamInfo
from optimbuild.patterns import keyword_in
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
        edits: dict[str, Edit] = {}
        for param in inventory.params:
            for name in param.names if param.aliases else (param.name,):
                keyword = keyword_in(name, self.keywords)
                if keyword is not None:
                    edits[param.name] = by_keyword[keyword]
                    break
        if self.keywords == KEYWORDS:
            return Bound(edits)
        return Bound(edits, [(f"keywords[{i}]", k, inventory.containing(k)) for i, k in enumerate(self.keywords)])
