"""Moved to :mod:`optimbuild.registry.optimizer_type`."""

from optimbuild.registry.optimizer_type import OptimizerType, Options, State

__all__ = ["OptimizerType", "Options", "State"]
