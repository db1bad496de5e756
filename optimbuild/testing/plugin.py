"""All that an installed package registers, checked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any

from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import listing, shown, suggest
from optimbuild.registry import OPTIMIZERS, RULES, Registry, load_plugins
from optimbuild.testing.optimizer_checks import OPTIMIZER_CHECKS
from optimbuild.testing.optimizers import verdicts_on_optimizer
from optimbuild.testing.rule_checks import RULE_CHECKS
from optimbuild.testing.rules import verdicts_on_rule
from optimbuild.testing.verdict import Fault, Verdict


def verdicts_on_plugin(package: str, leave_out: Collection[str] = ()) -> Iterator[Verdict]:
    """Yield what the checks find about each rule and optimizer of a package, with the options of their examples.

    Args:
        package: The name of a module, or of the distribution that installed it.
        leave_out: Names of checks that do not run.

    Raises:
        ConfigError: The package registers nothing, or no check has a name in ``leave_out``.
    """
    load_plugins()
    rules, optimizers = _names_of(RULES, package), _names_of(OPTIMIZERS, package)
    if not rules and not optimizers:
        raise ConfigError(_nothing_from(package))
    known = [check.__name__ for check in chain[Callable[..., Any]](RULE_CHECKS, OPTIMIZER_CHECKS)]
    for name in leave_out:
        if name not in known:
            raise ConfigError(f"there is no check {shown(name)}.{suggest(name, known)} There are: {', '.join(known)}.")
    for name in rules:
        yield from _guarded("rule", name, lambda name: verdicts_on_rule(name, leave_out=_of(RULE_CHECKS, leave_out)))
    for name in optimizers:
        yield from _guarded(
            "optimizer", name, lambda name: verdicts_on_optimizer(name, leave_out=_of(OPTIMIZER_CHECKS, leave_out))
        )


def _of(checks: Collection[Callable[..., Any]], names: Collection[str]) -> list[str]:
    return [check.__name__ for check in checks if check.__name__ in names]


def _guarded(kind: str, name: str, check: Callable[[str], list[Verdict]]) -> list[Verdict]:
    """Return the verdicts; where nothing could be checked, one with the reason."""
    try:
        return check(name)
    except OptimBuildError as error:
        return [Verdict(f"{kind} {name!r}", ("can_be_checked",), (Fault("can_be_checked", str(error)),))]


def _names_of(registry: Registry, package: str) -> list[str]:
    """Return what a package registers."""
    return [name for name in registry.names() if package in _packages_of(registry, name)]


def _packages_of(registry: Registry, name: str) -> tuple[str, ...]:
    """Return the module that registers a name, the packages that it is in, and its distribution."""
    origin = registry.origin(name)
    parts = origin.module.split(".")
    return (*[".".join(parts[:length]) for length in range(1, len(parts) + 1)], origin.package.partition(" ")[0])


def _nothing_from(package: str) -> str:
    """Return why there is nothing to check."""
    registering = {_packages_of(registry, name)[0] for registry in (RULES, OPTIMIZERS) for name in registry.names()}
    try:
        found = importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        found = False
    why = (
        f"{shown(package)} registers no rule and no optimizer. Declare its module as an entry point of the group "
        "`optimbuild.plugins`, and install it."
        if found
        else f"there is no package {shown(package)}.{suggest(package, registering)}"
    )
    return f"{why} Rules and optimizers come from: {listing(sorted(registering))}."
