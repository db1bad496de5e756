"""The factory that a Trainer calls to make its optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from optimbuild.build.build import build_optimizer
from optimbuild.build.unwrap import plan_of
from optimbuild.errors import ConfigError
from optimbuild.integrations.transformers.arguments import warn_of_arguments
from optimbuild.messages import listing, shown, suggest

TAKEN = ("config", "overrides", "args")
"""What the Trainer passes on to the factory."""


class OptimBuild:
    """What ``Trainer(optimizer_cls_and_kwargs=(OptimBuild, {"config": …}))`` makes its optimizer with.

    The Trainer makes one without arguments, and calls it with the model and the keyword arguments: ``config``, as for
    :func:`optimbuild.build_optimizer`; ``overrides``; and ``args``, the ``TrainingArguments``, so that a warning says
    which of them the config replaces.

    Raises:
        ConfigError: This release of transformers passes its own groups, and not the model; or the config is wrong.

    >>> factory = OptimBuild()
    >>> optimizer = factory(nn.Linear(2, 2), config={"optimizer": {"type": "adamw", "lr": 1e-3}})
    >>> [group["name"] for group in optimizer.param_groups]
    ['all']
    """

    def __init__(self, *groups: Any, **kwargs: Any) -> None:
        if groups or kwargs:
            raise ConfigError(
                "this release of transformers passes parameter groups of its own instead of the model, so the config "
                "would not count; 5.2 and later pass the model. What works in all of them is "
                "Trainer(optimizers=(optimbuild.build_optimizer(config, model), None))"
            )

    def __call__(
        self, model: nn.Module, *, config: Any = None, overrides: Sequence[str] = (), args: Any = None, **unknown: Any
    ) -> torch.optim.Optimizer:
        """Plan and build.

        Args:
            model: The Trainer's model.
            config: As for :func:`optimbuild.build_optimizer`.
            overrides: ``KEY=VALUE`` in the config's own dialect.
            args: The ``TrainingArguments``.
            **unknown: What is misspelt.

        Raises:
            OptimBuildError: As :func:`optimbuild.build_optimizer`.
        """
        for key in unknown:
            raise ConfigError(f"OptimBuild takes no {shown(key)}.{suggest(key, TAKEN)} It takes: {listing(TAKEN)}.")
        if config is None:
            raise ConfigError('OptimBuild needs a config: optimizer_cls_and_kwargs=(OptimBuild, {"config": …})')
        optimizer = build_optimizer(config, model, overrides=overrides)
        if args is not None:
            warn_of_arguments(args, plan_of(optimizer))
        return optimizer
