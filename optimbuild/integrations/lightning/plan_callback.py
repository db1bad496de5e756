"""A callback that logs the plan, saves it beside the checkpoints, and compares it when a run resumes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimbuild.build.unwrap import plans_in
from optimbuild.integrations.lightning.package import Callback
from optimbuild.integrations.saved_plan import changes_since, write_plan
from optimbuild.messages import warn

log = logging.getLogger(f"{Callback.__module__.partition('.callbacks')[0]}.optimbuild")
"""Below the logger of Lightning, which shows what is told to it."""


class PlanCallback(Callback):
    """Log what every parameter gets when training starts; save ``plan.json`` where the checkpoints go, and in them.

    The file is read by :meth:`optimbuild.Plan.from_json`; with several optimizers there is a ``plan.NUMBER.json`` for
    each. A run that resumes says what changed since the checkpoint.

    Example:
        ``Trainer(…, callbacks=[PlanCallback()])``
    """

    def __init__(self) -> None:
        self._plans: dict[str, str] = {}
        self._saved: Mapping[str, str] | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Log the plans, write them into the folders of the checkpoints, and say what changed since a checkpoint."""
        del pl_module
        plans = {name: plan for name, (_, plan) in plans_in(trainer).items()}
        if not plans:
            warn("PlanCallback has nothing to do, because optimbuild did not build the optimizer")
        self._plans = {name: plan.to_json() for name, plan in plans.items()}
        if not trainer.is_global_zero:
            return
        for name, plan in plans.items():
            of = f" of optimizer {name}" if name else ""
            log.info(f"Plan{of}:\n{plan}")
            for folder in _folders(trainer):
                write_plan(plan, folder, name)
            if self._saved is not None:
                since = changes_since(self._saved.get(name, ""), plan)
                log.info(f"The plan{of}, compared with the checkpoint: {since}")

    def state_dict(self) -> dict[str, Any]:
        """Return the plans, for the checkpoint."""
        return dict(self._plans)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Remember the plans of a checkpoint."""
        self._saved = state_dict


def _folders(trainer: Any) -> list[Path]:
    """Return where the checkpoints of a trainer go."""
    found = [each.dirpath for each in trainer.checkpoint_callbacks if getattr(each, "dirpath", None)]
    return [Path(each) for each in dict.fromkeys(found or [trainer.log_dir or trainer.default_root_dir])]
