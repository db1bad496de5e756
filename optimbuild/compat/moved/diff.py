"""Moved to :mod:`optimbuild.plan.diff`."""

from optimbuild.plan.diff import PlanDiff

__all__ = ["PlanDiff"]
