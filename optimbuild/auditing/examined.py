"""What an optimizer is examined for, and the registry of the functions that find something in its groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from optimbuild.auditing.finding import Answer, registering
from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.messages import counted
from optimbuild.plan.plan import Plan


@dataclass(frozen=True)
class Examined:
    """What a finding is looked for in.

    Args:
        found: The groups and the model.
        plan: The plan that they amount to.
        rates: The LR of each group, before a scheduler moved it.
    """

    found: Found
    plan: Plan
    rates: Sequence[float | None]

    def numbered(self) -> Iterator[tuple[int, FoundGroup]]:
        """Yield the groups that hold parameters of the model, with their numbers."""
        yield from [(i, group) for i, group in enumerate(self.found.groups) if group.positions]


Find = Callable[[Examined], Iterator[Answer]]

FINDINGS: dict[str, Find] = {}
"""By id what finds it, in the order of a report."""


finding = registering(FINDINGS)
"""Registers a function that finds something in groups, by its id."""


def places(groups: Sequence[FoundGroup]) -> str:
    """Return groups in words.

    >>> places([])
    '0 groups'
    """
    return groups[0].place if len(groups) == 1 else counted(len(groups), "group")
