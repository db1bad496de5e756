"""A spec and an inventory, made into a :class:`~optimbuild.plan.plan.Plan`; nothing is touched."""

from optimbuild.plan.decision import Decision, Group, Setting, Step
from optimbuild.plan.diff import PlanDiff
from optimbuild.plan.plan import Plan

__all__ = ["Decision", "Group", "Plan", "PlanDiff", "Setting", "Step"]
