"""An LR factor for deformable convolutions."""

from __future__ import annotations

from optimbuild.edits import Edit, Edits
from optimbuild.model import Inventory
from optimbuild.registry import rule
from optimbuild.values import Keyword, Positive

KEYWORDS = ("offset", "attention_weights", "center_feature_scale_proj", "alpha_beta")
"""The pieces of names by which InternImage finds the parameters that steer its sampling."""


@rule("dcn_lr")
class DcnLr:
    """Give the parameters that steer deformable convolutions their own LR factor.

    This is InternImage's ``DCN_LR_MUL``, with its convention that a keyword matches any piece of a name. It applies
    whether or not layer decay is on.

    Example:
        ``{type: dcn_lr, factor: 0.1}``
    """

    factor: Positive
    """The factor of the learning rate, above 0."""
    keywords: tuple[Keyword, ...] = KEYWORDS
    """Pieces of names."""

    def bind(self, model: Inventory) -> Edits:
        """Find the parameters; keywords other than the default ones must each match."""
        edits = Edits(model)
        for i, keyword in enumerate(self.keywords):
            edit = Edit(scale={"lr": self.factor}, why=f"name contains {keyword!r}")
            option = f"keywords[{i}]" if self.keywords != KEYWORDS else ""
            edits.give(model.containing(keyword), edit, option, keyword)
        return edits
