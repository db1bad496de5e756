"""From a plan and a module to an optimizer: the only package that changes a model."""

from optimbuild.build.build import build_optimizer

__all__ = ["build_optimizer"]
