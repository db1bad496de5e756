"""Moved to :mod:`optimbuild.plan.memory`."""

from optimbuild.plan.memory import Memory, RankMemory

__all__ = ["Memory", "RankMemory"]
