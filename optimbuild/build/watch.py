"""A watch over what a plan decides and later code may undo: the ratios between LRs, and kept statistics."""

from __future__ import annotations

from typing import Any

import torch

from optimbuild.build.kept_statistics import KeptNorms
from optimbuild.build.lr_ratios import LrRatios
from optimbuild.messages import warn
from optimbuild.model.survey import Surveyed
from optimbuild.plan.plan import Plan

PART, LONGEST = 16, 1000
"""After step n the watch looks again n // PART steps later, at least one and at most LONGEST."""


class Watch:
    """Looks before some steps whether the optimizer still does what its plan says, and warns once if not.

    It looks before each of the first 32 steps, and then more and more rarely: 92 times in the first 1000 steps. Other
    steps only increase a counter. A step that ``torch.compile`` compiles is not watched. An optimizer takes its watch
    along into copies and pickles.

    Args:
        ratios: The planned ratios of LRs.
        norms: The norms whose statistics are kept.
    """

    def __init__(self, ratios: LrRatios, norms: KeptNorms) -> None:
        self._ratios: LrRatios | None = ratios
        self._norms: KeptNorms | None = norms
        self._steps = 0
        self._due = 1

    def before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Count a step, and look if one is due."""
        if torch.compiler.is_compiling():
            return
        self._steps += 1
        if self._steps < self._due:
            return
        self._due = self._steps + max(1, min(self._steps // PART, LONGEST))
        if self._ratios is not None and (text := self._ratios.difference(optimizer.param_groups)):
            self._ratios = None
            warn(text)
        if self._norms is not None and (text := self._norms.lost()):
            self._norms = None
            warn(text)

    def after_loading(self, optimizer: torch.optim.Optimizer) -> None:
        """Start from the LRs that were loaded."""
        if self._ratios is not None:
            self._ratios.start_from(optimizer.param_groups)


def watch_of(plan: Plan, surveyed: Surveyed) -> Watch | None:
    """Return the watch over the optimizer of a plan; None where its config says ``watch: false``.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module.
    """
    if not plan.spec.watch:
        return None
    modules = surveyed.modules if plan.kept_statistics else {}
    return Watch(LrRatios(plan.groups), KeptNorms.of(modules, plan.kept_statistics))
