"""The ``TrainingArguments`` that a config replaces."""

from __future__ import annotations

import dataclasses
from typing import Any

from optimbuild.messages import warn
from optimbuild.plan.plan import Plan

WITHOUT_EFFECT = (
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "optim",
    "optim_args",
    "optim_target_modules",
)
"""Arguments that a Trainer reads only where it makes its own optimizer."""


def warn_of_arguments(args: Any, plan: Plan) -> None:
    """Warn of arguments that somebody gave, and that do not count because the config has other values.

    Args:
        args: The ``TrainingArguments``.
        plan: The plan of the optimizer.
    """
    kind, options = plan.base
    ours = {**options, "learning_rate": options.get("lr"), "adam_epsilon": options.get("eps")}
    betas = options.get("betas")
    if isinstance(betas, (list, tuple)) and len(betas) == 2:
        ours |= {"adam_beta1": betas[0], "adam_beta2": betas[1]}
    given = {key: value for key, value in _given(args).items() if key not in ours or ours[key] != value}
    if given:
        texts = ", ".join([f"{key}={getattr(value, 'value', value)!r}" for key, value in given.items()])
        here = ", ".join([f"{key}={options[key]!r}" for key in ("lr", "weight_decay") if key in options])
        warn(
            f"TrainingArguments({texts}) has no effect: the config decides, with {kind.name}({here}) before its rules. "
            "Leave these arguments out, or put them into the config"
        )


def _given(args: Any) -> dict[str, Any]:
    """Return the arguments that are not at their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(args) if field.name in WITHOUT_EFFECT}
    return {key: getattr(args, key) for key, default in defaults.items() if getattr(args, key) != default}
