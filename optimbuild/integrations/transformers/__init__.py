"""Hugging Face's Trainer: a factory for its optimizer, and callbacks."""

from __future__ import annotations

from optimbuild.errors import MissingPackageError

try:
    import accelerate  # noqa: F401  # without which there is no Trainer
    import transformers  # noqa: F401
except ImportError as error:
    raise MissingPackageError(
        f"the Trainer needs transformers and accelerate ({error}): pip install optimbuild[trainer]"
    ) from error

from optimbuild.integrations.transformers.factory import OptimBuild
from optimbuild.integrations.transformers.lr_callback import LrCallback
from optimbuild.integrations.transformers.plan_callback import PlanCallback

__all__ = ["LrCallback", "OptimBuild", "PlanCallback"]
