"""The schedule that a config has itself, in the dialects whose schedules can be run."""

from __future__ import annotations

from collections.abc import Mapping

from optimbuild.config.files import load
from optimbuild.model.mmengine_config import run_config
from optimbuild.plot.runner_schedule import READ, runner_schedule
from optimbuild.plot.schedules import Schedule
from optimbuild.plot.yacs_schedule import yacs_schedule


def schedule_of_config(path: str, steps: int | None = None, optimizer: str | None = None) -> Schedule:
    """Return the schedule of a config of MMEngine, or of a yacs config.

    Args:
        path: The file. One in Python **is run**.
        steps: The number of steps of the training; None where ``train_cfg`` has it as ``max_iters``. A training by
            epochs has steps in whole epochs.
        optimizer: The name of the optimizer, where the config has several with a schedule of each.

    Raises:
        ConfigError: The config has no schedule, or does not say how long it is; or its project refuses it.
        MissingPackageError: timm, which has the schedulers of yacs configs, is not installed.
    """
    config = dict(run_config(path)) if path.endswith(".py") else load(path, {**READ, "TRAIN": None})
    train = config.get("TRAIN")
    return yacs_schedule(train, steps) if isinstance(train, Mapping) else runner_schedule(config, steps, optimizer)
