"""The registries of rules and optimizers, and the decorators that register them.

MMEngine imports this package when a config says ``optimbuild.NAME``.
"""

from optimbuild.registry.plugins import load_plugins
from optimbuild.registry.register import constructor, optimizer, rule
from optimbuild.registry.registries import (
    CONSTRUCTORS,
    HOOKS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIMIZERS,
    RULES,
    find_optimizer,
    find_rule,
)
from optimbuild.registry.registry import Origin, Registry, fill, origin

__all__ = [
    "CONSTRUCTORS",
    "HOOKS",
    "OPTIMIZERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "RULES",
    "Origin",
    "Registry",
    "constructor",
    "fill",
    "find_optimizer",
    "find_rule",
    "load_plugins",
    "optimizer",
    "origin",
    "rule",
]
