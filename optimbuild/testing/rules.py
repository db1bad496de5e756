"""A rule, tried with its options on models of many forms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.registry import RULES, find_rule
from optimbuild.testing.examples import examples_of
from optimbuild.testing.rule_case import Model, RuleCase, inventories, option_names
from optimbuild.testing.rule_checks import RULE_CHECKS
from optimbuild.testing.verdict import Verdict, judged

ADAMW: Mapping[str, Any] = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05}
"""The optimizer with which plans are made."""


def verdicts_on_rule(
    rule: str | type,
    options: Mapping[str, Any] | None = None,
    *,
    models: Iterable[Model] = (),
    optimizer: Mapping[str, Any] = ADAMW,
    leave_out: Collection[str] = (),
) -> list[Verdict]:
    """Return what the checks find about a rule, for the given options or for each example in its docstring.

    Arguments and errors are those of :func:`~optimbuild.testing.check_rule`.
    """
    name = rule if isinstance(rule, str) else _name_of(rule)
    cls, models, verdicts = find_rule(name), list(models), []
    for given in [options] if options is not None else _examples(name, cls):
        case = RuleCase(name, cls, given, optimizer, inventories(models))
        verdicts.append(judged(f"rule {name!r} with {shown(given)}", case, RULE_CHECKS, leave_out))
    return verdicts


def _examples(name: str, cls: Any) -> Sequence[Mapping[str, Any]]:
    """Return the options in the docstring's examples; none where the rule needs none."""
    if examples := examples_of(name, cls):
        return examples
    if required := option_names(cls, required=True):
        raise ConfigError(
            f"rule {name!r} needs options: {', '.join(required)}. Give some to check_rule, or write an example into "
            f"the docstring of {cls.__qualname__}: ``{{type: {name}, {required[0]}: …}}``"
        )
    return [{}]


def _name_of(cls: type) -> str:
    for name in RULES.names():
        if RULES.get(name) is cls:
            return name
    raise ConfigError(f'{cls.__qualname__} is not registered as a rule. Write `@rule("my_name")` above it')
