"""What no rule explains, as entries of ``match`` with patterns that match exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optimbuild.auditing.infer.target import Rule, Target
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.report.families import Families
from optimbuild.report.name_patterns import NamePatterns


def freezing(target: Target) -> list[Rule]:
    """Return the rule that freezes what is frozen in the plan and trainable in the model."""
    if not target.to_freeze:
        return []
    trained = {**dict.fromkeys(target.to_freeze), **target.options}
    patterns = NamePatterns(Families([name for name in target.plan.inventory.names if name in trained]))
    return [{"type": "freeze", "patterns": patterns.each(target.to_freeze)}]


def routing(target: Target, optimizer: str) -> list[Rule]:
    """Return the rule that gives an optimizer its parameters by pattern."""
    names = [name for name, options in target.options.items() if options["optimizer"] == optimizer]
    table = {pattern: {"optimizer": optimizer} for pattern in target.patterns.each(names)}
    return [{"type": "match", "table": table}]


def rest(target: Target, plan: Plan) -> list[Rule]:
    """Return the rule that sets the options in which a plan still differs."""
    by_options: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name, wanted in target.wrong(plan).items():
        edit = _edit(wanted, plan[name].options or {}, str(target.options[name]["optimizer"]))
        by_options.setdefault(repr(edit), (edit, []))[1].append(name)
    table: dict[str, dict[str, Any]] = {}
    for edit, names in by_options.values():
        for pattern in target.patterns.each(names):
            table[pattern] = edit
    return [{"type": "match", "table": table}] if table else []


def _edit(wanted: Mapping[str, Any], has: Mapping[str, Any], optimizer: str) -> dict[str, Any]:
    """Return an entry of ``match``: short factors where they give the very number, else the number itself."""
    kind = find_optimizer(optimizer)
    edit: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    for option, value in wanted.items():
        if option == "optimizer":
            edit[option] = value
        elif not kind.takes(option):
            marks[option] = value
        elif option == "lr" and (factor := _factor(has.get(option), value)) is not None:
            edit["lr_mult"] = factor
        else:
            edit[option] = list(value) if isinstance(value, tuple) else value
    return {**edit, **({"marks": marks} if marks else {})}


def _factor(base: Any, value: Any) -> float | None:
    """Return a short factor that leads from one number to another, exactly; None where there is none."""
    if not isinstance(base, float) or not isinstance(value, float) or not base or not value:
        return None
    for digits in (2, 3, 4):
        factor = float(f"{value / base:.{digits}g}")
        if math.isfinite(factor) and base * factor == value:
            return factor
    return None
