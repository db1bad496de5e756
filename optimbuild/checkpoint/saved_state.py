"""Saved optimizer state by parameter name, whatever layout it was found in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optimbuild.checkpoint.group_options import options_of
from optimbuild.plan.decision import MEMBER


@dataclass(frozen=True)
class SavedState:
    """Saved state and options, by parameter name.

    Args:
        state: By parameter, what the optimizer kept. Parameters without state are left out.
        groups: By parameter, in the order of the save, its group or the options that were saved of it.
        layout: The layout that was found, in words.
        fingerprint: The fingerprint of the plan, where the save has it.
    """

    state: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, Any]]
    layout: str
    fingerprint: str = ""

    @cached_property
    def options(self) -> dict[str, dict[str, Any]]:
        """By parameter, its options as plain values; parameters of one group share one dict.

        Raises:
            CheckpointError: A group is no mapping.
        """
        plain = {id(group): options_of(group) for group in {id(g): g for g in self.groups.values()}.values()}
        return {name: plain[id(group)] for name, group in self.groups.items()}

    @property
    def is_of_one(self) -> bool:
        """Whether it says which optimizer kept the state, and one kept all of it."""
        names = {str(options.get(MEMBER, "")) for options in self.options.values()}
        return len(names) == 1 and "" not in names
