"""Parameters that are explained together: those with equal steps, and those whose steps differ by the layer only."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from optimbuild.errors import ModelError
from optimbuild.messages import listing, shown
from optimbuild.model.patterns import Pattern, is_wildcard
from optimbuild.report.calculation import Trace
from optimbuild.report.folding import Row, folded
from optimbuild.report.interfaces import PlanView
from optimbuild.report.name_patterns import NamePatterns


@dataclass
class Block:
    """Parameters that are explained together.

    Args:
        row: The row of the folded view that they are in.

    Attributes:
        positions: Their positions in model order.
        traces: The steps of each group; None stands for what is frozen.
    """

    row: Row
    positions: list[int] = field(default_factory=list)
    traces: dict[int | None, Trace] = field(default_factory=dict)

    @property
    def groups(self) -> list[int]:
        """Their groups, by depth."""
        return [group for group in self.row.groups if group in self.traces]

    def ends(self) -> list[Trace]:
        """Return the steps of the first layer and those of the last one."""
        groups = [*self.groups, *self.traces]
        return [self.traces[groups[0]], self.traces[self.groups[-1] if self.groups else groups[-1]]]


def selected(plan: PlanView, name: str) -> list[int]:
    """Return the positions of the parameters that a name means.

    Args:
        plan: The plan.
        name: The name of a parameter, an alias, a module, or a pattern.

    Raises:
        ModelError: No parameter has this name, is in such a module, or matches; names the closest.
    """
    inventory = plan.inventory
    if name in inventory:
        return [inventory.position(name)]
    try:
        found = inventory.matching(Pattern(name))
    except ValueError as error:
        raise ModelError(f"{shown(name)} is no name and no pattern: {error}") from None
    if not found and is_wildcard(name):
        close = inventory.closest(name)
        parts = list(dict.fromkeys([known.partition(".")[0] for known in inventory.names]))
        hint = f" Closest: {listing(close)}." if close else f" The model consists of: {listing(parts)}."
        raise ModelError(f"the pattern {shown(name)} matches no parameter of {inventory.model or 'the model'}.{hint}")
    return inventory.positions([param.name for param in found]) if found else [inventory.position(name)]


def merged(plan: PlanView, names: NamePatterns, positions: Sequence[int]) -> list[Block]:
    """Merge parameters with equal steps, and those whose steps differ by the layer only.

    Args:
        plan: The plan.
        names: The patterns of its names.
        positions: The positions of parameters in model order.
    """
    traces = dict(zip(positions, plan.traces(positions), strict=True))
    found: dict[Hashable, Block] = {}
    for number, row in enumerate(folded(plan.groups, names.families, True, plan.frozen)):
        for position in sorted(traces.keys() & row.positions):
            trace = traces[position]
            key = (number, plan.inventory.params[position].trainable, _outline(trace, row.ratio is not None))
            block = found.setdefault(key, Block(row))
            block.positions.append(position)
            block.traces.setdefault(plan[plan.inventory.params[position].name].group, trace)
    return sorted(found.values(), key=lambda block: block.positions[0])


def _outline(trace: Trace, by_layer: bool) -> Hashable:
    """Return what steps have in common that are equal, or that differ by the layer: in numbers only."""
    if by_layer:
        return tuple(
            [(step.position, *step.after, re.sub(r"(?<![A-Za-z])\d[\d.e-]*", "#", step.why)) for step in trace]
        )
    return tuple([(step.position, repr(step.before), repr(step.after), step.why) for step in trace])
