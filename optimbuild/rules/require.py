"""What a recipe needs of a model, or must not find in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from optimbuild.edits import Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model import Inventory
from optimbuild.registry import rule
from optimbuild.values import Keyword


@rule("require")
class Require:
    """Refuse a model that a recipe is not for, and change nothing.

    Example:
        ``{type: require, without: [LSTM], because: "its gates want another clipping", optional: true}``
    """

    without: Annotated[tuple[Keyword, ...], Field(min_length=1)]
    """Pieces of the names of ``torch.nn`` classes; the model may have no module of such a class."""
    because: str = ""
    """The reason, for the message."""

    def bind(self, model: Inventory) -> Edits:
        """Look for the classes.

        Raises:
            ConfigError: The model has a module of such a class.
        """
        found = [param.name for param in model if any(piece in base for piece in self.without for base in param.bases)]
        if "BatchNorm" in self.without:
            found += [module for module in model.statistics if not any(name.startswith(f"{module}.") for name in found)]
        if found:
            reason = f", because {self.because}" if self.because else ""
            raise ConfigError(
                f"is not for a model with {' or '.join(self.without)}{reason}. It has: {listing(found, 5)}", "without"
            )
        return Edits(model)
