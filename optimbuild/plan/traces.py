"""Traces: the steps that led to the settings of all parameters, each distinct trace once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from optimbuild.config.spec import Spec
from optimbuild.model.inventory import Inventory
from optimbuild.plan.apply import Applied, applied
from optimbuild.plan.base_options import base_options
from optimbuild.plan.decision import Step
from optimbuild.plan.fold import Change, Fold


class Traces(NamedTuple):
    """The steps that led to the settings of all parameters.

    Args:
        distinct: The distinct traces, each with its steps in order.
        chosen: For every parameter the index of its trace.
    """

    distinct: Sequence[tuple[Step, ...]]
    chosen: Sequence[int]


def traces_of(spec: Spec, model: Inventory) -> Traces:
    """Apply the rules of a spec again, and log what their edits change.

    Parameters for which all rules want the same, for the same reasons, are folded once.

    Args:
        spec: The canonical config.
        model: The model's parameters and hints.
    """
    rules = [applied(rule, f"rules[{i}]", model) for i, rule in enumerate(spec.rules)]
    tables = [rule.edits.table for rule in rules]
    rows = list(zip([param.trainable for param in model], *map(_numbers, rules), strict=True))
    fold, index = Fold(base_options(spec)), dict[Any, int]()
    distinct: list[tuple[Step, ...]] = []
    for trainable, *numbers in dict.fromkeys(rows):
        edits = [table[number] for table, number in zip(tables, numbers, strict=True)]
        log: list[Change] = []
        fold.setting(trainable, [(i, edit) for i, edit in enumerate(edits) if edit is not None], log)
        index[(trainable, *numbers)] = len(distinct)
        distinct.append(tuple([Step(spec.rules[i].type, why, before, after, i) for i, why, before, after in log]))
    return Traces(distinct, [index[row] for row in rows])


def _numbers(rule: Applied) -> Sequence[int]:
    """Return each parameter's edit number. Equal edits share the first number."""
    first: dict[str, int] = {}
    table, numbers = rule.edits.table, rule.edits.numbers
    same = {number: first.setdefault(repr(table[number]), number) for number in dict.fromkeys(numbers)}
    return numbers if len(first) == len(same) else list(map(same.__getitem__, numbers))
