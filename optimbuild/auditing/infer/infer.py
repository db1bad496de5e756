"""The smallest config of ours whose plan is equal to a given one."""

from __future__ import annotations

from collections import Counter
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

HEAD = 2
"""The lines of a table before its entries."""

FEW = 8
"""So many keywords a rule may have."""


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

    Rules that explain many parameters are tried first (``freeze``, ``route``, ``no_decay``, ``layer_decay``,
    ``dcn_lr``); what they leave is written as ``match``, with patterns.

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
    made = None if best is None else target.made(best)
    if best is None or made is None:
        raise ModelError("no config of ours makes a plan of this model")
    return Inferred(best, made, plan.diff(made))


def _configs(target: Target) -> Iterable[dict[str, Any]]:
    """Yield the best config for each likely main optimizer and base LR."""
    for main in target.optimizers:
        rates = [float(options["lr"]) for options in target.of(main) if isinstance(options.get("lr"), float)]
        common = max(set(rates), key=rates.count) if rates else None
        for lr in (None,) if common is None or common == max(rates) else (None, common):
            config = _config(target, main, lr)
            if config is not None:
                yield config


def _config(target: Target, main: str, lr: float | None) -> dict[str, Any] | None:
    """Return the best config with one optimizer as its own, and a base LR; None where it makes no plan."""
    others = [name for name in target.optimizers if name != main]
    config: dict[str, Any] = {"optimizer": target.base(main, lr)}
    if others:
        config["optimizers"] = {name: target.base(name) for name in others}
    if target.plan.spec.zero is not False:
        config["zero"] = True
    first = [*_routes(target, config, others), *freezing(target)]
    if target.made({**config, "rules": first}) is None:
        return None
    config, rules = _rates(target, config, [*first, *_decay(target, config, first)])
    made = target.made({**config, "rules": rules})
    rules += [] if made is None else rest(target, made)
    return {**config, "rules": _with_statistics(target, config, rules)}


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


def _decay(target: Target, config: dict[str, Any], before: list[Rule]) -> list[Rule]:
    """Return the rules of weight decay that leave least to say; what is left may fit as keywords of ``no_decay``."""
    chosen, least = list[Rule](), float(TOO_MANY)
    for rules in candidates.decays():
        made = target.made({**config, "rules": [*before, *rules]})
        cost = _cost(target, made, rules, ("weight_decay",))
        if cost < least:
            chosen, least = rules, cost
        if made is not None and rules and cost > 1 + len(rules) and (more := _keywords(target, made)):
            named = [{**rules[0], "keywords": more}]
            cost = _cost(target, target.made({**config, "rules": [*before, *named]}), named, ("weight_decay",))
            if cost < least:
                chosen, least = named, cost
    return chosen


def _keywords(target: Target, made: Plan) -> list[str]:
    """Return the last pieces of the names that should not be decayed and are."""
    wrong = target.wrong(made, ("weight_decay",))
    pieces = dict.fromkeys([name.rpartition(".")[2] for name, wanted in wrong.items() if wanted["weight_decay"] == 0])
    return list(pieces) if len(pieces) <= FEW and "weight" not in pieces else []


def _rates(target: Target, config: dict[str, Any], before: list[Rule]) -> tuple[dict[str, Any], list[Rule]]:
    """Return the config, with the base LRs that fit, and the rules of LRs that leave least to say."""
    chosen, least = (config, before), float(TOO_MANY)
    for rules in candidates.rates(target):
        made = target.made({**config, "rules": [*before, *rules]})
        fitted = config if made is None or not rules else _fitted(target, config, made)
        if fitted is not config:
            made = target.made({**fitted, "rules": [*before, *rules]})
        cost = _cost(target, made, rules, ("lr",))
        if cost < least:
            chosen, least = (fitted, [*before, *rules]), cost
        if least < 1 + len(rules):
            break
    return chosen


def _fitted(target: Target, config: dict[str, Any], made: Plan) -> dict[str, Any]:
    """Return a config whose base LRs give most parameters their LR: no parameter may have the base LR itself."""
    votes: dict[str, Counter[float]] = {name: Counter() for name in target.optimizers}
    for decision in made:
        wanted = target.options.get(decision.name)
        if wanted is not None and decision.lr and isinstance(wanted.get("lr"), float):
            base = _entry(config, str(wanted["optimizer"]))["lr"]
            votes[str(wanted["optimizer"])][float(f"{wanted['lr'] / decision.lr * base:.6g}")] += 1
    fitted = {name: found.most_common(1)[0][0] for name, found in votes.items() if found}
    if all(_entry(config, name)["lr"] == lr for name, lr in fitted.items()):
        return config
    others = config.get("optimizers", {})
    more = {name: {**entry, "lr": fitted.get(name, entry.get("lr"))} for name, entry in others.items()}
    own = [lr for name, lr in fitted.items() if name not in others]
    first = {**config["optimizer"], **({"lr": own[0]} if own else {})}
    return {**config, "optimizer": first, **({"optimizers": more} if more else {})}


def _entry(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the options of an optimizer in a config."""
    entry: dict[str, Any] = config.get("optimizers", {}).get(name, config["optimizer"])
    return entry


def _cost(target: Target, made: Plan | None, rules: Sequence[Rule], keys: Sequence[str]) -> float:
    """Return how many lines are needed beside some rules, and a little for each option of these."""
    if made is None:
        return TOO_MANY
    wrong = target.wrong(made, keys)
    by_value: dict[str, list[str]] = {}
    for name, options in wrong.items():
        by_value.setdefault(repr(options), []).append(name)
    lines = sum(len(target.patterns.each(names)) for names in by_value.values())
    return lines + HEAD * bool(lines) + len(rules) + 0.01 * sum(len(rule) for rule in rules)


def _with_statistics(target: Target, config: dict[str, Any], rules: list[Rule]) -> list[Rule]:
    """Return rules whose freezing lets running statistics go where the plan does not keep them."""
    made = target.made({**config, "rules": rules})
    if made is None or set(made.kept_statistics) <= set(target.plan.kept_statistics):
        return rules
    return [{**rule, "keep_norm_stats": False} if rule["type"] == "freeze" else rule for rule in rules]


def _length(config: dict[str, Any]) -> tuple[int, int]:
    text = yaml_text(config)
    return text.count("\n"), len(text)
