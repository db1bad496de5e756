"""The optimizers that come with optimbuild, one file per family, and the packages that have more.

Importing a file registers its optimizers.
"""

from optimbuild.optimizers import adamw, mmpretrain, muon, packages, sgd

__all__ = ["adamw", "mmpretrain", "muon", "packages", "sgd"]
