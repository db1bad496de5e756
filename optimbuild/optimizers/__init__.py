"""The optimizers that come with optimbuild, one file per family, and the packages that have more.

Importing a file registers its optimizers.
"""

from optimbuild.optimizers import adamw, muon, packages, sgd

__all__ = ["adamw", "muon", "packages", "sgd"]
