"""The schedule of an MMEngine config, run as its runner runs it: with MMEngine's own schedulers and its own hook."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown, suggest
from optimbuild.plot.schedules import OF_CONFIG, Schedule, Step, has_lists, refuse_steps, steps_per_epoch

KEY = "param_scheduler"
READ = {KEY: None, "train_cfg": None, "default_scope": None}
"""The keys that are read, with all that is below them."""


def runner_schedule(config: Mapping[str, Any], steps: int | None = None, optimizer: str | None = None) -> Schedule:
    """Return the schedule of an MMEngine config; arguments and errors are those of ``schedule_of_config``."""
    settings = _settings(config, optimizer)
    steps, epoch = _lengths(config.get("train_cfg") or {}, steps)
    scope = config.get("default_scope") or "mmengine"

    def start(optimizer: Any) -> Step:
        from mmengine.hooks import ParamSchedulerHook
        from mmengine.optim import OptimWrapper

        wrapper = OptimWrapper(optimizer)  # it adds a group to those that schedulers see
        schedulers = [_built(each, f"{KEY}[{i}]", scope, wrapper, steps, epoch) for i, each in enumerate(settings)]
        hook, runner = ParamSchedulerHook(), SimpleNamespace(param_schedulers=schedulers)

        def next_step(step: int) -> None:
            wrapper.step()
            hook.after_train_iter(runner, step)
            if epoch is not None and (step + 1) % epoch == 0:
                hook.after_train_epoch(runner)

        return next_step

    return Schedule(OF_CONFIG, steps, start, every_group=has_lists(settings))


def _settings(config: Mapping[str, Any], optimizer: str | None) -> list[dict[str, Any]]:
    """Return the settings of each scheduler."""
    found = config.get(KEY)
    if isinstance(found, Mapping) and "type" not in found:
        if optimizer not in found:
            raise ConfigError(f"has schedules for {', '.join(map(str, found))}; choose one with --optimizer", KEY)
        found = found[optimizer]
    settings = [found] if isinstance(found, Mapping) else list(found or ())
    if not settings or not all(isinstance(each, Mapping) for each in settings):
        raise ConfigError(
            f"a config whose schedule can be drawn is one of MMEngine with `{KEY}`, a list of schedulers, or a yacs "
            f"config; here it is "
            f"{'missing' if found is None else shown(found)}. Or name a schedule of torch, with --steps",
            KEY,
        )
    return [dict(each) for each in settings]


def _lengths(train_cfg: Mapping[str, Any], steps: int | None) -> tuple[int, int | None]:
    """Return the number of steps, and that of an epoch; None where the training does not count epochs."""
    epochs, iters = train_cfg.get("max_epochs"), train_cfg.get("max_iters")
    if epochs is None:
        steps = steps or iters
        if steps is None:
            raise ConfigError(
                "has neither max_epochs nor max_iters; say with --steps how long the schedule is", "train_cfg"
            )
        refuse_steps(steps)
        return steps, None
    epoch = steps_per_epoch(steps, epochs, "train_cfg")
    return epochs * epoch, epoch


def _built(settings: dict[str, Any], path: str, scope: str, optimizer: Any, steps: int, epoch: int | None) -> Any:
    """Build one scheduler as a runner does."""
    from mmengine.registry import PARAM_SCHEDULERS

    by_epoch = settings.get("by_epoch", True)
    if settings.get("convert_to_iter_based") and epoch is None:
        raise ConfigError("is converted from epochs, and the training counts none", path)
    ends = {"end": steps // epoch if by_epoch and epoch else steps}
    _refuse_unregistered(settings.get("type"), path)
    try:
        with PARAM_SCHEDULERS.switch_scope_and_registry(scope) as registry:
            made = registry.build({**ends, **settings}, default_args={"optimizer": optimizer, "epoch_length": epoch})
    except Exception as error:  # MMEngine refuses settings in many ways
        raise ConfigError(f"MMEngine refuses it: {type(error).__name__}: {shown(str(error), 200)}", path) from error
    if getattr(made, "need_val_args", False):
        raise ConfigError("depends on what a validation gives, so it cannot be drawn before", path)
    return made


def _refuse_unregistered(kind: Any, path: str) -> None:
    """Raise a ConfigError for a type that is no class and not registered: MMEngine would import a dotted path."""
    import mmengine.optim  # noqa: F401  # registers MMEngine's own
    from mmengine.registry import PARAM_SCHEDULERS

    from optimbuild.registry.mmengine_names import find_entry

    if inspect.isclass(kind) or (isinstance(kind, str) and find_entry(PARAM_SCHEDULERS, kind) is not None):
        return
    hint = suggest(kind, PARAM_SCHEDULERS.module_dict) if isinstance(kind, str) else ""
    raise ConfigError(f"no scheduler of MMEngine has the name {shown(kind)}.{hint}", f"{path}.type")
