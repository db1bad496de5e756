"""What a plan gives to parameters that it freezes, once they are trained after all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from optimbuild.plan.apply import apply_rules
from optimbuild.plan.base_options import base_options
from optimbuild.plan.decision import Setting
from optimbuild.plan.fold import Fold
from optimbuild.plan.plan import Plan


def settings_if_trained(plan: Plan, names: Collection[str]) -> dict[str, Setting]:
    """Return the settings that parameters would have if nothing froze them. The rules are applied again.

    Args:
        plan: The plan.
        names: Names of its parameters.

    Raises:
        ConfigError: A rule is not registered here any more, or refuses the model as it would be.

    >>> import torch
    >>> from optimbuild import make_plan
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    >>> rules = [{"type": "no_decay"}, {"type": "freeze", "patterns": ["0"]}]
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01}, "rules": rules}, model)
    >>> settings_if_trained(plan, ["0.bias"])["0.bias"].options["weight_decay"]
    0.0
    """
    wanted_names = frozenset(names)
    params = tuple(
        [param._replace(trainable=True) if param.name in wanted_names else param for param in plan.inventory.params]
    )
    model = replace(plan.inventory, params=params)
    rules = apply_rules(plan.spec.rules, model)
    fold = Fold(base_options(plan.spec))
    found = {}
    for name in names:
        wanted = [(i, edit) for i, rule in enumerate(rules) if (edit := rule.edits[name]) is not None]
        found[name] = fold.setting(True, [(i, replace(edit, freeze=False)) for i, edit in wanted])
    return found
