"""The optimizers that come with optimbuild, one file a family; each registers itself."""

from optimbuild.optimizers import adamw, sgd

__all__ = ["adamw", "sgd"]
