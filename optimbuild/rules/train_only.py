"""Training some parts of a model and nothing else."""

from __future__ import annotations

from optimbuild.edits import Edit, Edits
from optimbuild.messages import listing, shown
from optimbuild.model import Inventory
from optimbuild.model.named_modules import ModuleText, inside_matching
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

    patterns: tuple[PatternText, ...] = ()
    """Patterns of what is trained; one that names a module covers everything below it."""
    modules: tuple[ModuleText, ...] = ()
    """Regular expressions that match the whole name of a module; everything in such a module is trained."""
    as_mmagic: Switch = False
    """Only warn of an entry of ``modules`` that matches nothing, where others match, for MMagic's constructor passes
    over it; and warn of what is given more than once, which that constructor steps as often."""
    keep_norm_stats: Switch = True
    """Whether batch norms in the frozen part keep their running mean and variance, as under ``freeze``."""

    def __post_init__(self) -> None:
        if not self.patterns and not self.modules:
            raise ValueError("a rule that trains only a part needs `patterns`, `modules`, or both")

    def bind(self, model: Inventory) -> Edits:
        """Find what is trained, freeze the others, and find the batch norms among these."""
        edits = Edits(model)
        for i, text in enumerate(self.patterns):
            edits.give(model.matching(Pattern(text)), Edit(why="trained"), f"patterns[{i}]", text)
        self._train_modules(edits)
        frozen = edits.rest()
        outside = f"outside of {listing((*self.patterns, *self.modules), 3)}"
        edits.give(frozen, Edit(freeze=True, why=outside))
        inside = statistics_inside(model, {param.name for param in frozen}, ())
        (edits.keep_statistics if self.keep_norm_stats else edits.release_statistics)(inside)
        return edits

    def _train_modules(self, edits: Edits) -> None:
        """Find what is trained by the names of modules."""
        found = inside_matching(edits.model, self.modules)
        passes_over = self.as_mmagic and any(found.params)
        for i, (text, params) in enumerate(zip(self.modules, found.params, strict=True)):
            edits.give(params, Edit(why="trained"))
            if params or not passes_over:
                edits.ask(f"modules[{i}]", text, params)
            else:
                edits.warn(f"no module is called {shown(text)}")
        for told in found.told:
            (edits.warn if self.as_mmagic else edits.note)(told)
