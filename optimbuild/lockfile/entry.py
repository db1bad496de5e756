"""An entry of a lock file: a target, and the plan that it is meant to give."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimbuild.lockfile.summary import summary
from optimbuild.lockfile.target import Target
from optimbuild.messages import printable
from optimbuild.plan.plan import Plan

SHORT = 12
"""How many characters of a fingerprint are shown."""


@dataclass(frozen=True)
class Entry:
    """A target with its plan, or one plan per optimizer where a config has several.

    Args:
        target: The target.
        fingerprints: By the name of an optimizer the fingerprint of its plan; the name of a single one is empty.
        plan: The plans in lines for people.
        ignore: The ids of problems that are none here.
    """

    target: Target
    fingerprints: Mapping[str, str]
    plan: tuple[str, ...]
    ignore: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The beginnings of the fingerprints, as plans show them."""
        texts = [f"{name} {digest[:SHORT]}" if name else digest[:SHORT] for name, digest in self.fingerprints.items()]
        return ", ".join(texts)


def entry_of(target: Target, plans: Mapping[str, Plan], ignore: Sequence[str] = ()) -> Entry:
    """Return the entry of plans that were just made.

    Args:
        target: What they are of.
        plans: The plans, by the names of their optimizers.
        ignore: The ids of problems that are none here.
    """
    fingerprints = {name: plan.fingerprint for name, plan in plans.items()}
    lines = [line for name, plan in plans.items() for line in [f"{name}:"] * bool(name) + summary(plan)]
    return Entry(target, fingerprints, tuple(map(printable, lines)), tuple(ignore))


def changes(before: Entry, after: Entry) -> list[str]:
    """Return what differs between two plans of a target, as lines that begin with ``-``, ``+`` or a space.

    Args:
        before: The plan as it was.
        after: The plan as it is.
    """
    if dict(before.fingerprints) == dict(after.fingerprints):
        return []
    found = list(difflib.unified_diff(before.plan, after.plan, n=1, lineterm=""))[2:]
    lines = [line for line in found if not line.startswith("@@")]
    return lines or ["  what differs is inside a row: a shape, an order, or an LR between the first and the last layer"]
