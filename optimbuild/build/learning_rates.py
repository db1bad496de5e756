"""The learning rates of an optimizer as loggers show them: by group, the base one, the lowest and the highest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from optimbuild.build.unwrap import optimizers_in, plan_of
from optimbuild.plan.decision import Decision
from optimbuild.plan.plan import Plan


class LearningRates(NamedTuple):
    """The current LRs of an optimizer.

    Args:
        base: That of a parameter with the config's own LR.
        lowest: The lowest of all groups.
        highest: The highest.
        by_name: That of each group, by its name.
    """

    base: float
    lowest: float
    highest: float
    by_name: Mapping[str, float]

    def scalars(self, key: str = "lr") -> dict[str, float]:
        """Return the base LR under a key, and the extremes under ``KEY/min`` and ``KEY/max``."""
        return {key: self.base, f"{key}/min": self.lowest, f"{key}/max": self.highest}


def learning_rates(optimizer: Any) -> LearningRates | None:
    """Return the current learning rates of an optimizer that optimbuild built; None for one without any.

    Args:
        optimizer: As for :func:`optimbuild.plan_of`.

    Raises:
        ModelError: As :func:`optimbuild.plan_of`.

    >>> import torch
    >>> from optimbuild import build_optimizer
    >>> slower = {"type": "match", "table": {"bias": {"lr": 0.25}}}
    >>> optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.5}, "rules": [slower]}, torch.nn.Linear(2, 2))
    >>> learning_rates(optimizer)
    LearningRates(base=0.5, lowest=0.25, highest=0.5, by_name={'weight': 0.5, 'bias': 0.25})
    """
    return rates_of(plan_of(optimizer), optimizers_in(optimizer)[""].optimizer.param_groups)


def rates_of(plan: Plan, groups: Sequence[Mapping[str, Any]]) -> LearningRates | None:
    """Return the current learning rates of groups; None where they have none.

    Args:
        plan: The plan that they were built from.
        groups: The groups.
    """
    rates = {
        str(group.get("name", i)): float(lr) for i, group in enumerate(groups) if (lr := group.get("lr")) is not None
    }
    if not rates:
        return None
    base = base_lr(plan, groups)
    if base is None:
        base = _from_ratio(plan, groups)
    values = rates.values()
    return LearningRates(next(iter(values)) if base is None else base, min(values), max(values), rates)


def base_lr(plan: Plan, groups: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the current LR of a parameter that has the config's own LR; None where none has it."""
    kind, options = plan.base
    for group, planned in _planned(plan, groups):
        if planned.optimizer == kind.name and planned.lr == options.get("lr"):
            return float(group["lr"])
    return None


def _from_ratio(plan: Plan, groups: Sequence[Mapping[str, Any]]) -> float | None:
    """Return what a group's LR makes of the config's own LR, of which the plan has it a multiple."""
    kind, options = plan.base
    for group, planned in _planned(plan, groups):
        if planned.optimizer == kind.name and planned.lr and options.get("lr") is not None:
            return float(group["lr"]) / planned.lr * float(options["lr"])
    return None


def _planned(plan: Plan, groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Decision]]:
    """Yield the groups that have an LR and a planned parameter, each with the decision of the plan about it."""
    for group in groups:
        name = next(iter(group.get("param_names", ())), None)
        if name is not None and name in plan and group.get("lr") is not None:
            yield group, plan[name]
