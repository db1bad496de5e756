"""A finding: what is wrong with an optimizer; and the registry of the functions that find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.messages import counted, listing
from optimbuild.model.conventions import causes_not_to_decay
from optimbuild.plan.plan import Plan

PAGE = "audit.md"
"""The page of the docs that has a section for each finding, under its id."""

SWITCHES = frozenset(("norm", "bias", "other_biases", "one_dimensional", "vectors", "marks"))
"""The switches of ``no_decay`` that are about a parameter itself."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an optimizer, or at least should be known.

    Args:
        id: Which kind of thing, such as ``decay-on-norm``; stable, so that it can be ignored by name.
        message: What was found, and what would be right.
        params: The parameters that it is about, in model order; empty where it is about groups.

    >>> print(Finding("frozen-in-group", "frozen, and in a group of the optimizer", ("stem.weight", "stem.bias")))
    frozen-in-group: frozen, and in a group of the optimizer: stem.weight, stem.bias
    """

    id: str
    message: str
    params: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The page and section of the docs that explain it."""
        return f"{PAGE}#{self.id}"

    def __str__(self) -> str:
        return f"{self.id}: {self.text}"

    @property
    def text(self) -> str:
        """The message, with the parameters."""
        return f"{self.message}: {listing(self.params, 5)}" if self.params else self.message

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"id": self.id, "message": self.message, "params": list(self.params), "page": self.page}


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

    @cached_property
    def decayed(self) -> frozenset[str]:
        """The names of the parameters that are decayed."""
        decays = [bool((setting.options or {}).get("weight_decay")) for setting in self.plan.settings]
        pairs = zip(self.plan.inventory.names, self.plan.chosen, strict=True)
        return frozenset([name for name, index in pairs if decays[index]])

    @cached_property
    def not_to_decay(self) -> dict[str, str]:
        """By name the first reason of ``no_decay`` against decaying a parameter: its switch."""
        causes = causes_not_to_decay(self.found.inventory, SWITCHES) if self.decayed else {}
        return {param.name: switch for (switch, _), params in causes.items() for param in params}

    def numbered(self) -> Iterator[tuple[int, FoundGroup]]:
        """Yield the groups that hold parameters of the model, with their numbers."""
        yield from [(i, group) for i, group in enumerate(self.found.groups) if group.positions]


Answer = tuple[str, Sequence[str]]
"""A message, and the names that it is about."""

Find = Callable[[Examined], Iterator[Answer]]

FINDINGS: dict[str, Find] = {}
"""By id what finds it, in the order of a report."""


def finding(id_: str) -> Callable[[Find], Find]:
    """Register a function that finds something.

    Args:
        id_: The id, in words with hyphens; ``docs/audit.md`` has a section under it.
    """

    def register(find: Find) -> Find:
        FINDINGS[id_] = find
        return find

    return register


def places(groups: Sequence[FoundGroup]) -> str:
    """Return groups in words.

    >>> places([])
    '0 groups'
    """
    return groups[0].place if len(groups) == 1 else counted(len(groups), "group")
