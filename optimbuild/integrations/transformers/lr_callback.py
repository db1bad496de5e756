"""A callback that logs the base LR, and the lowest and the highest beside it."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from optimbuild.build.learning_rates import LearningRates, rates_of
from optimbuild.build.unwrap import plans_in
from optimbuild.messages import listing, warn

KEY = "learning_rate"
"""What a Trainer calls the LR of the first group."""


class LrCallback(TrainerCallback):
    """Log the base LR as ``learning_rate``, and the extremes as ``learning_rate/min`` and ``learning_rate/max``.

    A Trainer logs the LR of the first group, which with layer-wise decay is the lowest one. The loggers of
    ``report_to`` come before all callbacks of a user, so they would not see these values, and a warning says so. Give
    them behind this one.

    Args:
        groups: Whether the LR of each group is logged as well, as ``learning_rate/NAME``.

    Example:
        ``Trainer(model, TrainingArguments(report_to="none"), callbacks=[LrCallback(), TensorBoardCallback()])``
    """

    def __init__(self, groups: bool = False) -> None:
        self._groups = groups
        self._rates: LearningRates | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Warn of loggers that do not see the values."""
        del control, kwargs
        if args.report_to and state.is_world_process_zero:
            warn(
                f"the loggers of report_to, {listing(args.report_to)}, come before LrCallback, and log the LR of the "
                "first group. Give them behind it: report_to='none' and, for TensorBoard, "
                "callbacks=[LrCallback(), transformers.integrations.TensorBoardCallback()]"
            )

    def on_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """Remember the LRs of this step, which a scheduler is about to change."""
        del args, state, control, kwargs
        for found, plan in plans_in(optimizer).values():
            self._rates = rates_of(plan, found.optimizer.param_groups)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Put the values into what is logged, and into the history."""
        del args, control, kwargs
        if self._rates is None or logs is None or KEY not in logs:
            return
        values = self._rates.scalars(KEY)
        if self._groups:
            values = {**{f"{KEY}/{name}": rate for name, rate in self._rates.by_name.items()}, **values}
        logs.update(values)
        state.log_history[-1].update(values)
