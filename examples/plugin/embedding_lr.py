"""A plugin: one file, one rule."""

from __future__ import annotations

from optimbuild import Edit, ParamInfo, rule
from optimbuild.values import Positive


@rule("embedding_lr")
class EmbeddingLr:
    """Give embeddings their own LR factor.

    Example:
        ``{type: embedding_lr, factor: 0.1}``
    """

    factor: Positive
    """The factor of the learning rate, above 0."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        """Slow down what belongs to an embedding."""
        if "embedding" in param.kinds:
            return Edit(scale={"lr": self.factor}, why="embedding")
        return None
