"""A callback that logs the base LR, and the lowest and the highest beside it."""

from __future__ import annotations

from typing import Any

from optimbuild.build.learning_rates import rates_of
from optimbuild.build.unwrap import plans_in
from optimbuild.integrations.lightning.package import Callback


class LrCallback(Callback):
    """Log the base LR as ``lr``, and the lowest and highest LR of all groups as ``lr/min`` and ``lr/max``.

    Lightning's own ``LearningRateMonitor`` logs the LR of each group under its name. With several optimizers the names
    begin with the number of each: ``0.lr``, ``0.lr/min``.

    Args:
        **kwargs: For ``LightningModule.log_dict``, such as ``prog_bar=True``.

    Example:
        ``Trainer(…, callbacks=[LrCallback()])``
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Log the LRs of the step that comes."""
        del batch, batch_idx
        for name, (found, plan) in plans_in(trainer).items():
            rates = rates_of(plan, found.optimizer.param_groups)
            if rates is not None:
                pl_module.log_dict(rates.scalars(f"{name}.lr" if name else "lr"), **self._kwargs)
