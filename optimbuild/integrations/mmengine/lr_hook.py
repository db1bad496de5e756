"""A hook that logs the learning rates of all groups."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import LogProcessor

from optimbuild.build.learning_rates import base_lr, rates_of
from optimbuild.integrations.mmengine.planned_wrappers import planned_wrappers
from optimbuild.registry import HOOKS


@HOOKS.register_module()
class LrHook(Hook):
    """Log the base LR as ``lr``, and the lowest and highest LR of all groups as ``lr/min`` and ``lr/max``.

    MMEngine logs the LR of the first group as ``lr``, which with layer-wise decay is the lowest one. With several
    optimizers the names begin with that of each, as MMEngine writes them: ``generator.lr``, ``generator.lr/min``.

    Example:
        ``custom_hooks=[dict(type='optimbuild.LrHook')]``
    """

    priority = "HIGH"  # after RuntimeInfoHook, which writes the first group's LR

    def before_train(self, runner: Any) -> None:
        """Let the log lines show these values as they show ``lr``."""
        if type(runner.log_processor) is LogProcessor:
            runner.log_processor = LrLogProcessor.like(runner.log_processor)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Write the values of this iteration."""
        del batch_idx, data_batch
        hub = runner.message_hub
        for name, wrapper, plan in planned_wrappers(runner.optim_wrapper):
            rates = rates_of(plan, wrapper.optimizer.param_groups)
            if rates is None:  # an optimizer without an LR
                continue
            if base_lr(plan, wrapper.optimizer.param_groups) is None:  # MMEngine keeps it, and schedules it as well
                settings = wrapper.base_param_settings or wrapper.optimizer.param_groups[0]
                rates = rates._replace(base=float(settings["lr"]))
            key = f"train/{name}.lr" if name else "train/lr"
            scalars = rates.scalars(key)
            if key in hub.log_scalars:
                history, _ = hub.get_scalar(key).data
                history[-1] = scalars.pop(key)
            for each, value in scalars.items():
                hub.update_scalar(each, value)


class LrLogProcessor(LogProcessor):
    """A log processor that writes ``lr/min`` and ``lr/max`` with an exponent, as MMEngine writes ``lr``."""

    @classmethod
    def like(cls, other: LogProcessor) -> LrLogProcessor:
        """Return one with all settings of another."""
        made = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        return made

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Return the values and the line of an iteration."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        for key, value in tag.items():
            if key.endswith(("lr/min", "lr/max")):
                name = key.removeprefix(f"{mode}/")
                fixed, exponent = f"{value:.{self.num_digits}f}", f"{value:.{self.num_digits}e}"
                line = line.replace(f"{name}: {fixed}", f"{name}: {exponent}")
        return tag, line
