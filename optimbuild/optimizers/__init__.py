"""The optimizers that come with optimbuild, one file per family. Importing a file registers its optimizers."""

from optimbuild.optimizers import adamw, mmpretrain, sgd

__all__ = ["adamw", "mmpretrain", "sgd"]
