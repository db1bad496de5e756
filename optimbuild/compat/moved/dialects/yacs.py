"""Moved to :mod:`optimbuild.config.dialects.yacs`."""

from optimbuild.config.dialects.yacs import OptimizerKeys, TrainKeys, defaults, read

__all__ = ["OptimizerKeys", "TrainKeys", "defaults", "read"]
