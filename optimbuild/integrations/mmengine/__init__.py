"""MMEngine: a constructor for its runners, hooks, and checkpoints that torch can load.

MMEngine imports this by itself when a config names ``optimbuild.OptimBuildConstructor`` or one of the
hooks. Importing it makes MMEngine's own checkpoints loadable again (see
:mod:`optimbuild.integrations.mmengine.checkpoints`).
"""

from __future__ import annotations

from optimbuild.integrations.mmengine.checkpoints import allow_checkpoints, resume_schedules, save_shards
from optimbuild.integrations.mmengine.constructor import OptimBuildConstructor
from optimbuild.integrations.mmengine.lr_hook import LrHook
from optimbuild.integrations.mmengine.plan_hook import PlanHook

allow_checkpoints()
resume_schedules()
save_shards()

__all__ = ["LrHook", "OptimBuildConstructor", "PlanHook"]
