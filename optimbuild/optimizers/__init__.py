"""The optimizers that come with optimbuild, one file per family. Importing a file registers its optimizers."""

from optimbuild.optimizers import adamw, sgd

__all__ = ["adamw", "sgd"]
