"""The two functions that a plugin's tests call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pytest

from optimbuild.testing.optimizers import verdicts_on_optimizer
from optimbuild.testing.rule_case import Model
from optimbuild.testing.rules import ADAMW, verdicts_on_rule
from optimbuild.testing.training import Task
from optimbuild.testing.verdict import Verdict


def check_rule(
    rule: str | type,
    options: Mapping[str, Any] | None = None,
    *,
    models: Iterable[Model] = (),
    optimizer: Mapping[str, Any] = ADAMW,
    leave_out: Collection[str] = (),
) -> None:
    """Fail the test if a rule is not what plans need: pure, the same everywhere, described, and sane on any model.

    Args:
        rule: Its registered name, or its class.
        options: Its options; by default those of each example in its docstring, such as ``{type: my_rule, factor: 2}``.
        models: Models for which the rule is meant, beside the kit's own: modules, inventories, or what builds a module.
        optimizer: The optimizer, with its options, whose options the rule changes.
        leave_out: Names of checks that do not hold for this rule, and need not.

    Raises:
        pytest.fail.Exception: A check found a fault; the message has all of them.
        ConfigError: The rule has required options, and there are none; or no check has a name in ``leave_out``.
        UnknownNameError: No rule has this name.

    >>> check_rule("dcn_lr", {"factor": 0.1}, leave_out=["other_processes_give_the_same"])
    """
    _fail(verdicts_on_rule(rule, options, models=models, optimizer=optimizer, leave_out=leave_out))


def check_optimizer(
    optimizer: str,
    options: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
    leave_out: Collection[str] = (),
) -> None:
    """Fail the test if an optimizer is not what training needs: groups, state, schedulers, ZeRO, a loss that goes down.

    Args:
        optimizer: Its registered name.
        options: Its options; by default those of each example in its docstring, or none.
        task: What makes the module to train, which returns its loss when it is called, and always has the same weights.
            By default the kit's own: with matrices, vectors and a number, or matrices only where the optimizer refuses
            others.
        leave_out: Names of checks that do not hold for this optimizer, and need not.

    Raises:
        pytest.fail.Exception: A check found a fault; the message has all of them.
        ConfigError: The optimizer cannot be built; or no check has a name in ``leave_out``.
        UnknownNameError: No optimizer has this name.
        MissingPackageError: The optimizer's package is not installed.

    >>> check_optimizer("sgd", {"lr": 0.1}, leave_out=["zero_gives_the_same"])
    """
    _fail(verdicts_on_optimizer(optimizer, options, task=task, leave_out=leave_out))


def _fail(verdicts: Sequence[Verdict]) -> None:
    """Fail the running test if there is a fault."""
    __tracebackhide__ = True
    if wrong := [str(verdict) for verdict in verdicts if verdict.faults]:
        pytest.fail("\n".join(wrong), pytrace=False)
