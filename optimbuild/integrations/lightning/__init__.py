"""Lightning: callbacks, in ``lightning`` and in ``pytorch_lightning``."""

from __future__ import annotations

from optimbuild.integrations.lightning.lr_callback import LrCallback
from optimbuild.integrations.lightning.plan_callback import PlanCallback

__all__ = ["LrCallback", "PlanCallback"]
