"""The schedule of a yacs config, run as InternImage and InternVL run it: with timm's own schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from optimbuild.config.dialects.yacs import Literal
from optimbuild.config.spec import ConfigPart
from optimbuild.errors import ConfigError, MissingPackageError
from optimbuild.messages import shown, suggest
from optimbuild.plot.schedules import OF_CONFIG, Schedule, Step, steps_per_epoch
from optimbuild.values import Index, NonNegative, Positive, plain, validated

TIMMS = ("cosine", "step")
"""The schedules of the published projects that are timm's; their ``linear`` is a class of their own."""


class SchedulerKeys(ConfigPart, extra="ignore"):
    """The keys under ``TRAIN.LR_SCHEDULER``, with the published defaults."""

    NAME: str = "cosine"
    """The schedule."""
    DECAY_EPOCHS: Annotated[Positive, Literal] = 30
    """After how many epochs ``step`` lowers the LR."""
    DECAY_RATE: Annotated[Positive, Literal] = 0.1
    """The factor by which it does."""


class ScheduleKeys(ConfigPart, extra="ignore"):
    """The keys under ``TRAIN`` that a schedule is made of, with the published defaults."""

    EPOCHS: Annotated[Index, Literal, Field(ge=1)] = 300
    """The number of epochs."""
    WARMUP_EPOCHS: Annotated[NonNegative, Literal] = 20
    """The number of epochs in which the LR rises."""
    WARMUP_LR: Annotated[NonNegative, Literal] = 5e-7
    """The LR of all groups at the first step."""
    MIN_LR: Annotated[NonNegative, Literal] = 5e-6
    """The LR of all groups at the end of ``cosine``."""
    LR_SCHEDULER: SchedulerKeys = SchedulerKeys()
    """Which schedule it is."""


def yacs_schedule(train: Mapping[str, Any], steps: int | None) -> Schedule:
    """Return the schedule of what is under ``TRAIN`` in a yacs config.

    Args:
        train: That part of the config.
        steps: The number of steps of the training, in whole epochs.

    Raises:
        ConfigError: A wrong value, a schedule that is not timm's, or no number of steps.
        MissingPackageError: timm is not installed.
    """
    keys: ScheduleKeys = validated(ScheduleKeys, plain(train, "TRAIN"), "TRAIN")
    name, path = keys.LR_SCHEDULER.NAME, "TRAIN.LR_SCHEDULER.NAME"
    if name == "linear":
        raise ConfigError("is the published projects' own class, which no package has, so it is not drawn", path)
    if name not in TIMMS:
        raise ConfigError(f"no schedule is called {shown(name)}.{suggest(name, TIMMS)} There are: cosine, step.", path)
    epoch = steps_per_epoch(steps, keys.EPOCHS, "TRAIN.EPOCHS")

    def start(optimizer: Any) -> Step:
        scheduler = _of_timm(keys, optimizer, epoch)

        def next_step(step: int) -> None:
            optimizer.step()
            scheduler.step_update(step)

        return next_step

    return Schedule(OF_CONFIG, keys.EPOCHS * epoch, start)


def _of_timm(keys: ScheduleKeys, optimizer: Any, epoch: int) -> Any:
    """Return timm's scheduler, made as the published projects make it."""
    try:
        from timm.scheduler import CosineLRScheduler, StepLRScheduler
    except ImportError as error:
        raise MissingPackageError(
            f"the schedule of a yacs config is timm's, which does not import ({error}): pip install 'optimbuild[timm]'"
        ) from error
    warmup = {"warmup_t": int(keys.WARMUP_EPOCHS * epoch), "warmup_lr_init": keys.WARMUP_LR, "t_in_epochs": False}
    if keys.LR_SCHEDULER.NAME == "cosine":
        return CosineLRScheduler(optimizer, t_initial=keys.EPOCHS * epoch, lr_min=keys.MIN_LR, cycle_limit=1, **warmup)
    decay, rate = int(keys.LR_SCHEDULER.DECAY_EPOCHS * epoch), keys.LR_SCHEDULER.DECAY_RATE
    return StepLRScheduler(optimizer, decay_t=decay, decay_rate=rate, **warmup)
