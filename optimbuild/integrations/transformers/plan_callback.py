"""A callback that prints the plan, and saves it beside each checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from optimbuild.build.unwrap import plans_in
from optimbuild.integrations.saved_plan import changes_since, file_name, write_plan
from optimbuild.integrations.transformers.arguments import warn_of_arguments
from optimbuild.messages import warn


class PlanCallback(TrainerCallback):
    """Print what every parameter gets when training starts, and save ``plan.json`` beside each checkpoint.

    It is read by :meth:`optimbuild.Plan.from_json`. A run that resumes from a checkpoint in its ``output_dir`` says
    what changed since, and arguments of the Trainer that the config replaces are told.

    Example:
        ``Trainer(…, callbacks=[PlanCallback()])``
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """Print the plan."""
        del control, kwargs
        plans = plans_in(optimizer)
        if not plans:
            warn("PlanCallback has nothing to do, because optimbuild did not build the optimizer")
        for _, plan in plans.values():
            if state.is_world_process_zero:
                sys.stdout.write(f"{plan}\n")
                warn_of_arguments(args, plan)
                saved = _checkpoint(args, state) / file_name("")
                if state.global_step and saved.is_file():
                    since = changes_since(saved.read_text("utf-8"), plan)
                    sys.stdout.write(f"The plan, compared with the checkpoint: {since}\n")

    def on_save(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """Save the plan."""
        del control, kwargs
        for _, plan in plans_in(optimizer).values():
            if state.is_world_process_zero:
                write_plan(plan, _checkpoint(args, state))


def _checkpoint(args: Any, state: Any) -> Path:
    """Return the folder of the current checkpoint; that of the run where it has another one."""
    folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
    return folder if folder.is_dir() else folder.parent
