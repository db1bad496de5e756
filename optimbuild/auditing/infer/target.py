"""The plan that a config is sought for, and how far another plan is from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optimbuild.errors import OptimBuildError
from optimbuild.plan.make import make_plan
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.report.families import Families
from optimbuild.report.name_patterns import NamePatterns

Rule = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What every parameter shall get.

    Args:
        plan: The plan.
    """

    plan: Plan

    @cached_property
    def options(self) -> dict[str, Mapping[str, Any]]:
        """By trained parameter its options, with its optimizer's name under ``optimizer``."""
        return {
            decision.name: {"optimizer": decision.optimizer, **(decision.options or {})}
            for decision in self.plan
            if not decision.frozen
        }

    @cached_property
    def optimizers(self) -> list[str]:
        """The names of the optimizers, that of most parameters first."""
        counts = Counter([str(options["optimizer"]) for options in self.options.values()])
        return [name for name, _ in counts.most_common()]

    @cached_property
    def patterns(self) -> NamePatterns:
        """The patterns of the trained parameters; what is frozen may match as well."""
        return NamePatterns(Families(tuple(self.options)))

    @cached_property
    def to_freeze(self) -> list[str]:
        """The parameters that are frozen, although they are trainable in the model as it is."""
        return [d.name for d in self.plan if d.frozen and d.param.trainable]

    def of(self, optimizer: str) -> list[Mapping[str, Any]]:
        """Return the options of the parameters of an optimizer."""
        return [options for options in self.options.values() if options["optimizer"] == optimizer]

    def base(self, optimizer: str, lr: float | None = None) -> dict[str, Any]:
        """Return the config of an optimizer: the commonest value of each option, what is its default left out.

        Args:
            optimizer: Its name.
            lr: Its LR; by default the highest that one of its parameters has.
        """
        kind = find_optimizer(optimizer)
        rows = self.of(optimizer)
        common = {key: _commonest([row.get(key) for row in rows], key) for key in rows[0] if key in kind.known}
        if lr is not None:
            common["lr"] = lr
        try:
            defaults = kind.complete({})
        except OptimBuildError:  # an option without a default
            defaults = {}
        given = {k: v for k, v in common.items() if v is not None and (k == "lr" or repr(defaults.get(k)) != repr(v))}
        return {"type": kind.name, **{key: _as_lists(value) for key, value in given.items() if key not in kind.fixed}}

    def made(self, config: Mapping[str, Any]) -> Plan | None:
        """Return the plan of a config for this model; None where a rule has nothing to do, or does not fit."""
        try:
            return make_plan(config, self.plan.inventory)
        except OptimBuildError:
            return None

    def wrong(self, plan: Plan, keys: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Return what of a plan is not as it shall be: by parameter the options that it shall have.

        Args:
            plan: The plan.
            keys: The options that count; by default all.
        """
        found: dict[str, dict[str, Any]] = {}
        known: dict[tuple[int, int], dict[str, Any]] = {}
        for decision in plan:
            wanted = self.options.get(decision.name)
            if wanted is None:
                continue
            pair = (id(decision.options), id(self.plan[decision.name].options))
            if pair not in known:
                has = {"optimizer": decision.optimizer, **(decision.options or {})}
                asked = keys or list(wanted)
                known[pair] = {k: wanted[k] for k in asked if k in wanted and repr(wanted[k]) != repr(has.get(k))}
            if known[pair]:
                found[decision.name] = known[pair]
        return found


def _commonest(values: Sequence[Any], key: str) -> Any:
    """Return the value that most have: of LRs the highest, of weight decays the commonest that is not 0."""
    if key == "lr":
        return max([value for value in values if isinstance(value, float)], default=None)
    counted = [value for value in values if value] if key == "weight_decay" else list(values)
    by_text = {repr(value): value for value in counted or values}
    return by_text[Counter(map(repr, counted or values)).most_common(1)[0][0]]


def _as_lists(value: Any) -> Any:
    return list(map(_as_lists, value)) if isinstance(value, tuple) else value
