"""A hook that logs the plan, saves it, and compares it when a run resumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from optimbuild.integrations.mmengine.planned_wrappers import planned_wrappers
from optimbuild.integrations.saved_plan import changes_since, write_plan
from optimbuild.plan.plan import Plan
from optimbuild.registry import HOOKS

META = "optimbuild"
"""The key in the ``meta`` of a checkpoint that holds the optimizer's plan, or one plan per optimizer's name."""


@HOOKS.register_module()
class PlanHook(Hook):
    """Log what every parameter gets, once, through the runner's logger; keep it with the run and its checkpoints.

    The table comes when training starts. ``plan.json`` in the work directory is read by
    :meth:`optimbuild.Plan.from_json`; with several optimizers there is a ``plan.NAME.json`` for each. Checkpoints get
    the plan and its fingerprint, and a run that resumes says what changed since.

    Example:
        ``custom_hooks=[dict(type='optimbuild.PlanHook')]``
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._logged = False
        self._saved: Mapping[str, Any] | None = None

    def after_load_checkpoint(self, runner: Any, checkpoint: Mapping[str, Any]) -> None:
        """Remember the plans of a checkpoint; whether the run resumes shows when training starts."""
        del runner
        meta = checkpoint.get("meta")
        found = meta.get(META) if isinstance(meta, Mapping) else None
        self._saved = found if isinstance(found, Mapping) else {}
        if isinstance(self._saved.get("fingerprint"), str):  # one optimizer, which has no name
            self._saved = {"": self._saved}

    def before_train(self, runner: Any) -> None:
        """Log the plans, write them into the work directory, and say what changed since a checkpoint."""
        if self._logged:
            return
        self._logged = True
        plans = {name: plan for name, _, plan in planned_wrappers(runner.optim_wrapper)}
        if not plans:
            runner.logger.warning(
                "PlanHook has nothing to do, because the optimizer was built by another constructor than "
                "'optimbuild.OptimBuildConstructor'"
            )
        for name, plan in plans.items():
            of = f" of {name}" if name else ""
            runner.logger.info(f"Plan{of}:\n{plan}")
            if is_main_process():
                write_plan(plan, Path(runner.work_dir), name)
            if runner.iter > 0 and self._saved is not None:
                runner.logger.info(
                    f"The plan{of}, compared with the checkpoint: {_compared(plan, self._saved.get(name))}"
                )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the plans and their fingerprints into a checkpoint."""
        plans = {
            name: {"fingerprint": plan.fingerprint, "plan": plan.to_json()}
            for name, _, plan in planned_wrappers(runner.optim_wrapper)
        }
        if plans:
            checkpoint.setdefault("meta", {})[META] = plans.get("", plans)


def _compared(plan: Plan, saved: Any) -> str:
    """Say how a plan differs from the one in a checkpoint."""
    if not isinstance(saved, Mapping):
        return "the checkpoint holds none, because no PlanHook wrote it"
    return "the same" if saved.get("fingerprint") == plan.fingerprint else changes_since(str(saved.get("plan")), plan)
