"""Checks for the authors of rules and optimizers, to be called from tests of pytest.

A plugin's tests are one line for each rule and optimizer; ``optimbuild check-plugin PACKAGE`` runs the same checks.
"""

from __future__ import annotations

from optimbuild.errors import MissingPackageError

try:
    import pytest  # noqa: F401  # the modules below need it
except ImportError as error:
    raise MissingPackageError("optimbuild.testing needs pytest. Install it: pip install pytest") from error

from optimbuild.testing.check import check_optimizer, check_rule
from optimbuild.testing.plugin import verdicts_on_plugin
from optimbuild.testing.tasks import Matrices, Regression, SparseEmbeddings

__all__ = ["Matrices", "Regression", "SparseEmbeddings", "check_optimizer", "check_rule", "verdicts_on_plugin"]
