"""The outcome of a check: what is wrong with the plan of a target."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from optimbuild.auditing.plan_findings import PLAN_FINDINGS, plan_findings
from optimbuild.lockfile.entry import Entry, changes
from optimbuild.lockfile.target import Target
from optimbuild.messages import counted
from optimbuild.plan.plan import Plan

ERROR, CHANGED, UNEXPECTED, WARNING = "error", "changed", "unexpected", "warning"
"""The ids of problems that are no findings."""
IGNORABLE = (WARNING, *PLAN_FINDINGS)
"""The ids of problems that may be ignored."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Args:
        id: Its kind: that of a finding, or one of the four above.
        message: What is wrong, and what would be right.
    """

    id: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """What a check says of one target.

    Args:
        target: The target.
        planned: Its plan; None where there is an error instead.
        problems: What is wrong.
        before: What it is compared with, if anything.
        is_new: Whether there is a lock file to compare with that has no entry for it.
    """

    target: Target
    planned: Entry | None
    problems: tuple[Problem, ...] = ()
    before: Entry | None = None
    is_new: bool = False

    @property
    def is_error(self) -> bool:
        """Whether there is no plan."""
        return self.planned is None

    @property
    def changes(self) -> list[str]:
        """What differs from what it is compared with, line by line."""
        return [] if self.planned is None or self.before is None else changes(self.before, self.planned)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON data."""
        target = self.target
        prints = {} if self.planned is None else dict(self.planned.fingerprints)
        return {
            "config": target.config,
            "model": target.model or None,
            "set": list(target.overrides),
            "optimizer": target.optimizer or None,
            "world_size": target.world_size,
            "fingerprint": prints.get("", prints) or None,
            "problems": [problem._asdict() for problem in self.problems],
            "changes": self.changes,
            "new": self.is_new,
        }


def problems_of(plans: Mapping[str, Plan], warnings: Sequence[str], ignore: Collection[str]) -> Iterator[Problem]:
    """Yield what is wrong with plans, whatever they are compared with.

    Args:
        plans: The plans, by the names of their optimizers.
        warnings: What was told while they were made.
        ignore: The ids of problems that are none.
    """
    found = [Problem(WARNING, text) for text in warnings]
    for name, plan in plans.items():
        start = f"{name}: " if name else ""
        found += [Problem(WARNING, f"{start}{text}") for text in plan.warnings]
        found += [Problem(finding.id, f"{start}{finding.text}") for finding in plan_findings(plan)]
    yield from [problem for problem in found if problem.id not in ignore]


@dataclass(frozen=True)
class Checked:
    """The outcomes of a whole check.

    Args:
        outcomes: One for each target.
        gone: What the other lock file has, where one was given, that is not in this one.
    """

    outcomes: tuple[Outcome, ...]
    gone: tuple[Entry, ...] = ()

    @property
    def told(self) -> list[Outcome]:
        """The outcomes that people are told of: those with a problem or a change, and new ones."""
        return [outcome for outcome in self.outcomes if outcome.problems or outcome.changes or outcome.is_new]

    @property
    def wrong(self) -> list[Outcome]:
        """The outcomes with a problem."""
        return [outcome for outcome in self.outcomes if outcome.problems]

    @property
    def has_error(self) -> bool:
        """Whether there is a target without a plan."""
        return any(outcome.is_error for outcome in self.outcomes)

    @property
    def total(self) -> str:
        """How many plans there are, and how many of them have a problem."""
        count, wrong = counted(len(self.outcomes), "plan"), len(self.wrong)
        if wrong:
            changed = any(problem.id == CHANGED for outcome in self.outcomes for problem in outcome.problems)
            hint = ". If a change is meant, `--update` writes it down" if changed else ""
            return f"{wrong} of {count} with a problem{hint}"
        prints = [outcome.planned.short for outcome in self.outcomes if outcome.planned is not None]
        return f"{count} without a problem{f' ({prints[0]})' * (len(prints) == 1)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the outcomes as JSON data."""
        gone = {"gone": [str(entry.target) for entry in self.gone]} if self.gone else {}
        return {"ok": not self.wrong, "plans": [outcome.to_dict() for outcome in self.outcomes], **gone}
