"""Traces: the steps that led to the settings of parameters, computed when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from optimbuild.config.spec import Spec
from optimbuild.model.inventory import Inventory
from optimbuild.plan.apply import apply_rules
from optimbuild.plan.base_options import base_options
from optimbuild.plan.decision import Step
from optimbuild.plan.fold import Change, Fold


def traces_of(spec: Spec, inventory: Inventory, positions: Iterable[int]) -> list[tuple[Step, ...]]:
    """Apply the rules once more, and return every step that led to the settings of some parameters, in order.

    Args:
        spec: The canonical config.
        inventory: The model's parameters and hints.
        positions: The positions of the parameters in model order. Equal traces of rules are one object.
    """
    rules = apply_rules(spec.rules, inventory)
    fold = Fold(base_options(spec))
    known: dict[tuple[int, ...], tuple[Step, ...]] = {}
    found = []
    for position in positions:
        trainable = inventory.params[position].trainable
        key = (trainable, *[rule.edits.numbers[position] for rule in rules])
        if key not in known:
            edits = [rule.edits.table[number] for rule, number in zip(rules, key[1:], strict=True)]
            log: list[Change] = []
            fold.setting(trainable, [(i, edit) for i, edit in enumerate(edits) if edit is not None], log)
            known[key] = tuple([Step(spec.rules[i].type, why, old, new, i, by) for i, why, old, new, by in log])
        found.append(known[key])
    return found
