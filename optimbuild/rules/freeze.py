"""Freezing parts of a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from optimbuild.edits import Bound, Edit
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import Pattern, PatternText
from optimbuild.registry import rule
from optimbuild.values import Index, Switch


@rule("freeze")
class Freeze:
    """Take parameters out of training.

    At build they get ``requires_grad=False`` and never reach the optimizer. ``levels`` is what
    InternImage calls ``FREEZE_BACKBONE``; here level 1 is not level 10.

    Example:
        ``{type: freeze, patterns: [patch_embed], levels: [0, 1], keep_norm_stats: true}``
    """

    patterns: tuple[PatternText, ...] = ()
    """Patterns; one that names a module covers everything below it."""
    levels: tuple[Index, ...] = ()
    """Level ``i`` means the segments ``levels.i`` anywhere in a name."""
    keep_norm_stats: Switch = False
    """Keep the batch norms inside in eval mode through every later ``model.train()``, so that their
    running statistics stay as they are."""

    def __post_init__(self) -> None:
        if not self.patterns and not self.levels:
            raise ValueError("freeze needs `patterns` or `levels`")

    @cached_property
    def _all(self) -> list[tuple[str, Pattern]]:
        return [
            *((f"patterns[{i}]", Pattern(text)) for i, text in enumerate(self.patterns)),
            *((f"levels[{i}]", Pattern(f"**.levels.{level}")) for i, level in enumerate(self.levels)),
        ]

    def bind(self, inventory: Inventory) -> Callable[[ParamInfo], Edit | None]:
        """Find the parameters of every pattern."""
        edits: dict[str, Edit] = {}
        patterns = []
        for where, pattern in self._all:
            found = inventory.matching(pattern)
            patterns.append((where, pattern.text, found))
            edit = Edit(freeze=True, why=f"pattern {pattern.text!r}")
            for param in found:
                edits.setdefault(param.name, edit)
        return Bound(edits, patterns)

    def keeps_in_eval(self, module: str) -> bool:
        """Say whether a batch norm of this name must stay in eval mode."""
        if not self.keep_norm_stats:
            return False
        return any(pattern.matches(module) or pattern.matches(f"{module}.weight") for _, pattern in self._all)
