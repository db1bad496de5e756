"""How parameters are split into groups."""

from __future__ import annotations

from collections.abc import Iterator

from optimbuild.auditing.examined import Examined, finding
from optimbuild.auditing.finding import Answer
from optimbuild.auditing.settings import options_key

FEW = 8
"""So many groups more than settings cost nothing that can be measured."""


@finding("equal-groups")
def equal_groups(examined: Examined) -> Iterator[Answer]:
    """Many groups with few different settings; a step starts its kernels for each group anew."""
    groups = [group for _, group in examined.numbered()]
    different = {(group.optimizer, options_key(group.entries)) for group in groups}
    if len(groups) - len(different) > FEW and not _is_named_by_plan(examined):
        yield f"{len(groups)} groups, {len(different)} different settings: equal ones as one make a step shorter", ()


def _is_named_by_plan(examined: Examined) -> bool:
    """Say whether a plan of ours has these groups under names, because something counts them."""
    return any(setting.group for setting in examined.plan.settings)
