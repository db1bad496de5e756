"""Running statistics of what several rules freeze together."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import modules_of
from optimbuild.model.statistics import statistics_inside
from optimbuild.plan.apply import Applied


def frozen_statistics(rules: Sequence[Applied], model: Inventory) -> list[str]:
    """Return the modules with running statistics whose parameters are all frozen, some of them by a rule.

    Args:
        rules: The rules, in their order. What one of them releases is left out.
        model: The model.
    """
    if not model.statistics:
        return []
    by_rules = frozenset[str]().union(*[rule.frozen for rule in rules])
    before = {param.name for param in model if not param.trainable}
    released = {module for rule in rules for module in rule.edits.released}
    touched = {module for param in model if param.name in by_rules for module in modules_of(param)}
    inside = statistics_inside(model, by_rules | before, ())
    return [module for module in inside if module in touched and module not in released]
