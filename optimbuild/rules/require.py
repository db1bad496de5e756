"""What a recipe needs of a model, or must not find in it."""

from __future__ import annotations

from collections.abc import Sequence

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

    without: tuple[Keyword, ...] = ()
    """Pieces of the names of ``torch.nn`` classes; the model may have no module of such a class."""
    affine: tuple[Keyword, ...] = ()
    """Pieces of the names of ``torch.nn`` classes of norms; each module of such a class must have parameters."""
    because: str = ""
    """The reason, for the message."""

    def __post_init__(self) -> None:
        if not self.without and not self.affine:
            raise ValueError("a rule that requires something needs `without`, `affine`, or both")

    def bind(self, model: Inventory) -> Edits:
        """Look for the classes.

        Raises:
            ConfigError: The model has a module of a class that it may not have, or one without parameters.
        """
        reason = f", because {self.because}" if self.because else ""
        if bare := _bare(model, self.affine):
            told = f"norms without parameters (affine=False){reason}. It has: {listing(bare, 5)}"
            raise ConfigError(f"is not for a model with {told}", "affine")
        owned = [param.name for param in model if _is_of(param.bases, self.without)]
        if found := [*owned, *_bare(model, self.without)]:
            told = f"{' or '.join(self.without)}{reason}. It has: {listing(found, 5)}"
            raise ConfigError(f"is not for a model with {told}", "without")
        return Edits(model)


def _is_of(bases: Sequence[str], pieces: Sequence[str]) -> bool:
    return any(piece in base for piece in pieces for base in bases)


def _bare(model: Inventory, pieces: Sequence[str]) -> list[str]:
    """Return the modules of such classes that have no parameters."""
    return [name for name, bases in model.bare.items() if _is_of(bases, pieces)]
