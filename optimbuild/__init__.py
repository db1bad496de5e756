"""Optimizer configs for PyTorch: see, explain and check what every parameter gets, then build it."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimbuild.auditing.audit import Audit, audit
    from optimbuild.build.build import build_optimizer
    from optimbuild.build.learning_rates import learning_rates
    from optimbuild.build.unwrap import plan_of
    from optimbuild.config.published import Published, Translation
    from optimbuild.config.spec import Spec
    from optimbuild.edits import Edit, Edits
    from optimbuild.errors import (
        CheckpointError,
        ConfigError,
        MissingPackageError,
        ModelError,
        OptimBuildError,
        OptimBuildWarning,
        RegistrationError,
        RuleError,
        UnknownNameError,
    )
    from optimbuild.model.inventory import Inventory
    from optimbuild.model.param_info import ParamInfo
    from optimbuild.model.survey import inventory
    from optimbuild.plan.make import make_plan
    from optimbuild.plan.plan import Plan
    from optimbuild.registry import CONSTRUCTORS, OPTIMIZERS, RULES, constructor, optimizer, rule

__version__ = "0.2.0"

# Modules that were moved are still found under their old names: a package's `__path__` is the list of the folders in
# which Python searches its submodules, and `compat/moved` has a one-line module for each old name.
__path__.append(os.path.join(os.path.dirname(__file__), "compat", "moved"))

_HOME = {
    "Audit": "auditing.audit",
    "audit": "auditing.audit",
    "build_optimizer": "build.build",
    "learning_rates": "build.learning_rates",
    "plan_of": "build.unwrap",
    "Edit": "edits",
    "Edits": "edits",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "MissingPackageError": "errors",
    "ModelError": "errors",
    "OptimBuildError": "errors",
    "OptimBuildWarning": "errors",
    "RegistrationError": "errors",
    "RuleError": "errors",
    "UnknownNameError": "errors",
    "inventory": "model.survey",
    "Inventory": "model.inventory",
    "ParamInfo": "model.param_info",
    "Plan": "plan.plan",
    "make_plan": "plan.make",
    "CONSTRUCTORS": "registry",
    "OPTIMIZERS": "registry",
    "RULES": "registry",
    "constructor": "registry",
    "optimizer": "registry",
    "rule": "registry",
    "Published": "config.published",
    "Spec": "config.spec",
    "Translation": "config.published",
}

__all__ = [
    "CONSTRUCTORS",
    "OPTIMIZERS",
    "RULES",
    "Audit",
    "CheckpointError",
    "ConfigError",
    "Edit",
    "Edits",
    "Inventory",
    "MissingPackageError",
    "ModelError",
    "OptimBuildError",
    "OptimBuildWarning",
    "ParamInfo",
    "Plan",
    "Published",
    "RegistrationError",
    "RuleError",
    "Spec",
    "Translation",
    "UnknownNameError",
    "audit",
    "build_optimizer",
    "constructor",
    "inventory",
    "learning_rates",
    "make_plan",
    "optimizer",
    "plan_of",
    "rule",
]


def __getattr__(name: str) -> Any:
    """Import a public name when somebody asks for it, so that importing optimbuild costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'optimbuild' has no attribute {name!r}")
    return getattr(importlib.import_module(f"optimbuild.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
