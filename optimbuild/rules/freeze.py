"""Freezing parts of a model."""

from __future__ import annotations

from optimbuild.edits import Edit, Edits
from optimbuild.messages import listing
from optimbuild.model import Inventory
from optimbuild.model.patterns import Pattern, PatternText
from optimbuild.model.statistics import statistics_inside
from optimbuild.registry import rule
from optimbuild.values import Index, SwitchOrWarn


@rule("freeze")
class Freeze:
    """Take parameters out of training.

    At build they get ``requires_grad=False`` and never reach the optimizer. The running statistics of batch norms
    among them stay as they are. ``levels`` is InternImage's ``FREEZE_BACKBONE``; level 1 does not match level 10.

    Example:
        ``{type: freeze, patterns: [patch_embed], levels: [0, 1]}``
    """

    patterns: tuple[PatternText, ...] = ()
    """Patterns; one that names a module covers everything below it."""
    levels: tuple[Index, ...] = ()
    """Level ``i`` means the segments ``levels.i`` anywhere in a name."""
    keep_norm_stats: SwitchOrWarn = None
    """Whether the batch norms inside what is frozen keep their running mean and variance. By default they do: each
    stays in eval mode through every later ``model.train()``. ``true`` does the same, and warns where there is none.
    ``false`` lets the statistics follow the new data, for example where its images look different from those of the
    pretraining. ``warn`` is ``false`` with a warning, for runs that must repeat published code."""

    def __post_init__(self) -> None:
        if not self.patterns and not self.levels:
            raise ValueError("freeze needs `patterns` or `levels`")

    def bind(self, model: Inventory) -> Edits:
        """Find the parameters of every pattern, and the batch norms inside."""
        edits = Edits(model)
        options = {f"patterns[{i}]": Pattern(text) for i, text in enumerate(self.patterns)}
        options |= {f"levels[{i}]": Pattern(f"**.levels.{level}") for i, level in enumerate(self.levels)}
        for option, pattern in options.items():
            edit = Edit(freeze=True, why=f"pattern {pattern.text!r}")
            edits.give(model.matching(pattern), edit, option, pattern.text)
        inside = statistics_inside(model, {p.name for p in model if edits[p.name]}, options.values())
        (edits.keep_statistics if self.keep_norm_stats in (None, True) else edits.release_statistics)(inside)
        if self.keep_norm_stats is None and inside:
            edits.note(f"running statistics are kept since 0.2 (keep_norm_stats: false undoes it): {listing(inside)}")
        if self.keep_norm_stats is True and not inside:
            edits.warn("keep_norm_stats does nothing: no module inside has running statistics")
        if self.keep_norm_stats == "warn" and inside:
            edits.warn(f"running statistics go on changing (keep_norm_stats: true keeps them): {listing(inside)}")
        return edits
