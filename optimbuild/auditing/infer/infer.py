"""The smallest config of ours whose plan is equal to a given one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from optimbuild.auditing.infer import candidates
from optimbuild.auditing.infer.rest import freezing, rest, routing
from optimbuild.auditing.infer.target import Rule, Target
from optimbuild.auditing.infer.yaml_text import yaml_text
from optimbuild.errors import ModelError
from optimbuild.plan.diff import PlanDiff
from optimbuild.plan.plan import Plan

TOO_MANY = 10_000
"""The cost of rules that make no plan."""


@dataclass(frozen=True)
class Inferred:
    """A config that was found for a plan.

    Args:
        config: The config, in our dialect.
        plan: The plan that it makes of the same model.
        difference: What it does not give as the given plan does; false where the plans are equal.
    """

    config: dict[str, Any]
    plan: Plan
    difference: PlanDiff

    def __str__(self) -> str:
        said = self.difference.lines() if self.difference else ["every parameter gets the same as in the plan"]
        return "".join(f"# {line}\n" for line in said) + yaml_text(self.config)


def infer(plan: Plan) -> Inferred:
    """Return the smallest config found whose plan is equal to a given one: made, and compared.

    Rules that explain many parameters are tried first (``freeze``, ``route``, ``no_decay``, ``layer_decay``, ``dcn_lr``);
    what they leave is written as ``match``, with patterns.

    Args:
        plan: Any plan, such as that of an audit.

    Raises:
        ModelError: The plan trains nothing.

    >>> import torch
    >>> from optimbuild import make_plan
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    >>> rules = [{"type": "no_decay"}, {"type": "match", "table": {"1": {"lr_mult": 0.5}}}]
    >>> plan = make_plan({"optimizer": {"type": "adamw", "lr": 0.1, "weight_decay": 0.05}, "rules": rules}, model)
    >>> print(infer(plan))
    # every parameter gets the same as in the plan
    optimizer: {type: adamw, lr: 0.1, weight_decay: 0.05}
    rules:
      - {type: no_decay}
      - type: match
        table:
          '1': {lr_mult: 0.5}
    """
    target = Target(plan)
    if not target.options:
        raise ModelError("this plan trains no parameter, so there is no config to find")
    best: dict[str, Any] | None = None
    for config in _configs(target):
        if best is None or _length(config) < _length(best):
            best = config
    if best is None:
        raise ModelError("no config of ours makes a plan of this model")
    made = target.made(best)
    if made is None:
        raise ModelError("no config of ours makes a plan of this model")
    return Inferred(best, made, plan.diff(made))


def _configs(target: Target) -> Iterable[dict[str, Any]]:
    """Yield the best config for each likely base LR."""
    main, *others = target.optimizers
    rates = [float(options["lr"]) for options in target.of(main) if isinstance(options.get("lr"), float)]
    likely = [None, *dict.fromkeys([rate for rate in (_commonest(rates),) if rate is not None and rate != max(rates)])]
    for lr in likely:
        config: dict[str, Any] = {"optimizer": target.base(main, lr)}
        if others:
            config["optimizers"] = {name: target.base(name) for name in others}
        if target.plan.spec.zero is not False:
            config["zero"] = True
        first = [*_routes(target, config, others), *freezing(target)]
        if target.made({**config, "rules": first}) is None:
            continue
        decays = _best(target, config, first, candidates.decays(), ("weight_decay",))
        rules = [*first, *decays]
        rules += _best(target, config, rules, candidates.rates(target), ("lr",))
        made = target.made({**config, "rules": rules})
        rules += [] if made is None else rest(target, made)
        yield {**config, "rules": _with_statistics(target, config, rules)}


def _commonest(rates: Sequence[float]) -> float | None:
    return max(set(rates), key=rates.count) if rates else None


def _routes(target: Target, config: dict[str, Any], others: Sequence[str]) -> list[Rule]:
    rules: list[Rule] = []
    for name in others:
        for rule in candidates.routes(name):
            made = target.made({**config, "optimizers": {name: config["optimizers"][name]}, "rules": [rule]})
            routed = set() if made is None else {d.name for d in made if d.optimizer == name}
            if routed == {n for n, options in target.options.items() if options["optimizer"] == name}:
                rules.append(rule)
                break
        else:
            rules += routing(target, name)
    return rules


def _best(
    target: Target, config: dict[str, Any], before: list[Rule], choices: Iterable[list[Rule]], keys: Sequence[str]
) -> list[Rule]:
    """Return the rules that leave least to say of some options; the first of equals."""
    chosen, least = list[Rule](), float(TOO_MANY)
    for rules in choices:
        made = target.made({**config, "rules": [*before, *rules]})
        cost = float(TOO_MANY) if made is None else _cost(target, made, rules, keys)
        if cost < least:
            chosen, least = rules, cost
        if least <= len(chosen):
            break
    return chosen


def _cost(target: Target, made: Plan, rules: Sequence[Rule], keys: Sequence[str]) -> float:
    """Return how many lines are needed beside some rules, and a little for each option of these."""
    wrong = target.wrong(made, keys)
    by_value: dict[str, list[str]] = {}
    for name, options in wrong.items():
        by_value.setdefault(repr(options), []).append(name)
    lines = sum(len(target.patterns.each(names)) for names in by_value.values())
    return lines + len(rules) + 0.01 * sum(len(rule) for rule in rules)


def _with_statistics(target: Target, config: dict[str, Any], rules: list[Rule]) -> list[Rule]:
    """Return rules whose freezing lets running statistics go where the plan does not keep them."""
    made = target.made({**config, "rules": rules})
    if made is None or set(made.kept_statistics) <= set(target.plan.kept_statistics):
        return rules
    return [{**rule, "keep_norm_stats": False} if rule["type"] == "freeze" else rule for rule in rules]


def _length(config: dict[str, Any]) -> tuple[int, int]:
    text = yaml_text(config)
    return text.count("\n"), len(text)
