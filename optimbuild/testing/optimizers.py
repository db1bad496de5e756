"""An optimizer, tried with its options on a small training."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.testing.examples import examples_of
from optimbuild.testing.optimizer_checks import OPTIMIZER_CHECKS
from optimbuild.testing.tasks import Matrices, Regression
from optimbuild.testing.training import OptimizerCase, Task, one_thread
from optimbuild.testing.verdict import Verdict, judged


def verdicts_on_optimizer(
    optimizer: str,
    options: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
    leave_out: Collection[str] = (),
) -> list[Verdict]:
    """Return what the checks find about an optimizer, for the given options or for each example in its docstring.

    Arguments and errors are those of :func:`~optimbuild.testing.check_optimizer`.
    """
    kind = find_optimizer(optimizer)
    examples = [options] if options is not None else examples_of(optimizer, kind.schema or kind.load()) or [{}]
    verdicts = []
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        for given in examples:
            fitting = task or _fitting_task(kind, given)
            case = OptimizerCase(kind, given, fitting)
            subject = f"optimizer {optimizer!r} with {shown(given)}" + " on matrices only" * (fitting is Matrices)
            verdicts.append(judged(subject, case, OPTIMIZER_CHECKS, leave_out))
    return verdicts


def _fitting_task(kind: OptimizerType, options: Mapping[str, Any]) -> Task:
    """Return the task for an optimizer: one with vectors, or one without where it refuses them."""
    try:
        OptimizerCase(kind, options, Regression).start()
    except ConfigError as refusal:
        try:
            OptimizerCase(kind, options, Matrices).start()
        except ConfigError:
            raise refusal from refusal.__cause__
        return Matrices
    return Regression
