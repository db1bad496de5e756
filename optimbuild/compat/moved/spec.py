"""Moved to :mod:`optimbuild.config.spec`."""

from optimbuild.config.spec import OptimizerSpec, RuleSpec, Spec, ZeroSpec

__all__ = ["OptimizerSpec", "RuleSpec", "Spec", "ZeroSpec"]
