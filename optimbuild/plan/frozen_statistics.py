"""Running statistics of what several rules freeze together."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.model.inventory import Inventory
from optimbuild.model.statistics import modules_of, statistics_inside
from optimbuild.plan.apply import Applied


def frozen_statistics(rules: Sequence[Applied], model: Inventory) -> list[str]:
    """Return the modules with running statistics whose parameters are all frozen, some of them by a rule.

    Args:
        rules: The rules, in their order. What one of them releases is left out.
        model: The model.
    """
    if not model.statistics:
        return []
    frozen = {param.name for rule in rules for param in model if (edit := rule.edits[param.name]) and edit.freeze}
    before = {param.name for param in model if not param.trainable}
    released = {module for rule in rules for module in rule.edits.released}
    by_rules = {module for name in frozen for module in modules_of(model[name])}
    inside = statistics_inside(model, frozen | before, ())
    return [module for module in inside if module in by_rules and module not in released]
