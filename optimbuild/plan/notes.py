"""Notes of rules: where they took their knowledge from, and which parameters a note is about in this plan."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.messages import listing
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.apply import Applied
from optimbuild.plan.base_options import Base
from optimbuild.plan.fold import Fold


def notes_of(rules: Sequence[Applied], base: Base) -> list[str]:
    """Return what the rules noted, each note once.

    Args:
        rules: The rules, in their order.
        base: The base options of optimizers, from which parameters start.
    """
    fold, found = Fold(base), list[str]()
    for rule in rules:
        others = [(i, other) for i, other in enumerate(rules) if other is not rule]
        alike = [other.edits for _, other in others if other.spec.type == rule.spec.type]
        for text, about, option in rule.edits.notes:
            if about is None:
                found.append(f"{rule.spec.type}: {text}")
                continue
            left = [param for param in about if not any(edits[param.name] for edits in alike)]
            if names := {param.name: None for param in left if _is_concerned(param, option, others, fold)}:
                found.append(f"{rule.spec.type}: {text}: {listing(list(names))}")
    return list(dict.fromkeys(found))


def _is_concerned(param: ParamInfo, option: str, others: Sequence[tuple[int, Applied]], fold: Fold) -> bool:
    """Say whether a parameter is trained, and gets more than 0 of an option from the rules but one."""
    edits = [(i, edit) for i, rule in others if (edit := rule.edits[param.name]) is not None]
    setting = fold.setting(param.trainable, edits)
    return not setting.frozen and (not option or (setting.options or {}).get(option) != 0)
