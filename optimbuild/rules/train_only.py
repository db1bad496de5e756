"""Training some parts of a model and nothing else."""

from __future__ import annotations

from pydantic import Field

from optimbuild.edits import Edit, Edits
from optimbuild.messages import listing
from optimbuild.model import Inventory
from optimbuild.model.patterns import Pattern, PatternText
from optimbuild.model.statistics import statistics_inside
from optimbuild.registry import rule
from optimbuild.values import Switch


@rule("train_only")
class TrainOnly:
    """Freeze everything but some parts of a model, whatever else is added to it later.

    Example:
        ``{type: train_only, patterns: [head]}``
    """

    patterns: tuple[PatternText, ...] = Field(min_length=1)
    """Patterns of what is trained; one that names a module covers everything below it."""
    keep_norm_stats: Switch = True
    """Whether batch norms in the frozen part keep their running mean and variance, as under ``freeze``."""

    def bind(self, model: Inventory) -> Edits:
        """Find what is trained, freeze the others, and find the batch norms among these."""
        edits = Edits(model)
        for i, text in enumerate(self.patterns):
            edits.give(model.matching(Pattern(text)), Edit(why="trained"), f"patterns[{i}]", text)
        frozen = edits.rest()
        edits.give(frozen, Edit(freeze=True, why=f"outside of {listing(self.patterns, 3)}"))
        inside = statistics_inside(model, {param.name for param in frozen}, ())
        (edits.keep_statistics if self.keep_norm_stats else edits.release_statistics)(inside)
        return edits
