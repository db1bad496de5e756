"""Rules: each is a class, and its fields are its options."""

from __future__ import annotations

from optimbuild import Edit, ParamInfo, rule
from optimbuild.values import Positive


@rule("example_plugin_embedding_lr")
class EmbeddingLr:
    """Give embeddings their own LR factor.

    Example:
        ``{type: example_plugin_embedding_lr, factor: 0.1}``
    """

    factor: Positive
    """The factor of the learning rate, above 0."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        """Scale the learning rate of what belongs to an embedding."""
        if "embedding" in param.kinds:
            return Edit(scale={"lr": self.factor}, why="embedding")
        return None
