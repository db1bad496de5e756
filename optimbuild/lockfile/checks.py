"""Checks: the plans of targets, held against a lock file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.lockfile.entry import SHORT, Entry, entry_of
from optimbuild.lockfile.lock_file import LockFile
from optimbuild.lockfile.outcome import CHANGED, ERROR, UNEXPECTED, Outcome, Problem, problems_of
from optimbuild.lockfile.target import Target
from optimbuild.messages import listing
from optimbuild.plan.plan import Plan

MakePlans = Callable[[Target], tuple[Mapping[str, Plan], Sequence[str]]]
"""Makes the plans of a target, by the names of their optimizers, and returns what was told meanwhile."""


@dataclass(frozen=True)
class Checks:
    """What plans are held against.

    Args:
        make: Makes the plans.
        locked: The lock file.
        where: Its name.
        shown: The lock file from which differences are shown; None if there is none.
        ignore: The ids of problems that are none, beside those of each entry.
        expected: The beginning of the fingerprint, if that is given.
        renewed: Whether the lock file is written anew, so that a change is no problem.
    """

    make: MakePlans
    locked: LockFile
    where: str
    shown: LockFile | None
    ignore: tuple[str, ...] = ()
    expected: str = ""
    renewed: bool = False

    def outcome_or_error(self, target: Target) -> Outcome:
        """Return the outcome for a target; where it cannot be planned, that is the outcome."""
        try:
            return self.outcome(target)
        except OptimBuildError as error:
            return Outcome(target, None, (Problem(ERROR, str(error)),))

    def outcome(self, target: Target) -> Outcome:
        """Return the outcome for a target.

        Raises:
            OptimBuildError: It cannot be planned.
        """
        entry = self.locked.find(target)
        ignore = sorted({*self.ignore, *(entry.ignore if entry else ())})
        plans, told = self.make(target)
        planned = entry_of(target, plans, ignore)
        problems = [*self._unexpected(planned), *self._changed(planned, entry), *problems_of(plans, told, ignore)]
        before = self.shown.find(target) if self.shown else None
        is_new = self.shown is not None and before is None and not self.expected
        return Outcome(target, planned, tuple(problems), before, is_new)

    def _unexpected(self, planned: Entry) -> Iterator[Problem]:
        if not self.expected:
            return
        if len(planned.fingerprints) > 1:
            raise ConfigError(
                f"--expect is about one plan, and this config has {len(planned.fingerprints)} optimizers; choose one "
                f"with --optimizer: {listing(list(planned.fingerprints))}"
            )
        (fingerprint,) = planned.fingerprints.values()
        if not fingerprint.startswith(self.expected):
            given = fingerprint[: max(SHORT, len(self.expected))]
            yield Problem(UNEXPECTED, f"{self.expected} is expected, and the plan is {given}")

    def _changed(self, planned: Entry, entry: Entry | None) -> Iterator[Problem]:
        if entry is None or self.renewed:
            return
        another = self.locked.about_version
        if dict(planned.fingerprints) != dict(entry.fingerprints):
            yield Problem(CHANGED, f"{self.where} has {entry.short}, and the plan is {planned.short}{another}")
        elif planned.plan != entry.plan and not another:  # another version may tell the same plan in other lines
            yield Problem(CHANGED, f"{self.where} has this plan's fingerprint, and other lines: edited by hand?")
