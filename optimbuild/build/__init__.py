"""A plan and a module, made into an optimizer: the only room that changes anything."""

from optimbuild.build.build import build_optimizer

__all__ = ["build_optimizer"]
