"""The report of a load: what was loaded, and how the plan changed since the save."""

from __future__ import annotations

from dataclasses import dataclass

from optimbuild.messages import counted, listing
from optimbuild.plan.diff import PlanDiff


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Args:
        layout: The layout of the saved state, in words.
        loaded: The parameters whose state was loaded.
        changes: How the options of parameters changed since the save.
        options: Whose options count from now on: ``config`` or ``checkpoint``.
        missing: Parameters without saved state, which start afresh.
        ignored: What was saved and is not used.
        stay: Options that stay those of the config although the checkpoint's count, as they decide what is kept.
        taken_over: In words, which other optimizer kept the state before, where the save says it.

    >>> report = LoadReport("optimbuild, version 1", ("a", "b"), PlanDiff({"a": {"lr": (0.1, 0.05)}}), "config")
    >>> print(report)
    state of 2 parameters loaded (layout: optimbuild, version 1)
    lr of 1 parameter: 0.1 → 0.05: a
    the options of the config count
    """

    layout: str
    loaded: tuple[str, ...]
    changes: PlanDiff
    options: str
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    stay: tuple[str, ...] = ()
    taken_over: str = ""

    def lines(self) -> list[str]:
        """Return the report line by line."""
        found = [f"state of {counted(len(self.loaded), 'parameter')} loaded (layout: {self.layout})"]
        if self.taken_over:
            found.append(self.about_optimizer)
        if self.changes:
            found += [*self.changes.lines(), f"the options of the {self.options} count{self.but}"]
        if self.missing:
            found.append(f"{len(self.missing)} without saved state start afresh: {listing(self.missing)}")
        if self.ignored:
            found.append(f"{counted(len(self.ignored), 'saved one')} left out: {listing(self.ignored)}")
        return found

    @property
    def about_optimizer(self) -> str:
        """What to say of another optimizer that kept the state before."""
        return f"kept by {self.taken_over}, which goes on with it. To start afresh, load no optimizer state"

    @property
    def but(self) -> str:
        """The options that do not follow those that count, in words; empty where all do."""
        return f", but for {listing(self.stay)}: the state was matched to the config's" if self.stay else ""

    def __str__(self) -> str:
        return "\n".join(self.lines())
