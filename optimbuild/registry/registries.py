"""The registries of rules, optimizers, optimizer wrapper constructors and hooks.

They are MMEngine registries with scope ``optimbuild``, each a child of MMEngine's own where there is
one. MMEngine imports ``optimbuild.registry`` when a config says ``optimbuild.NAME``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mmengine.registry.root import HOOKS as MMENGINE_HOOKS
from mmengine.registry.root import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_CONSTRUCTORS
from mmengine.registry.root import OPTIMIZERS as MMENGINE_OPTIMIZERS

from optimbuild.errors import UnknownNameError
from optimbuild.messages import closest, shown
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.packages import PACKAGES, find_without_prefix
from optimbuild.registry.registry import Registry

SCOPE = "optimbuild"


class OptimizerRegistry(Registry):
    """The registry of optimizers, which also knows those of other packages: ``timm.lion``, or without the prefix."""

    def _elsewhere(self, scope: str, name: str) -> Any:
        self.import_from_location()  # declares the packages
        if scope in PACKAGES:
            return PACKAGES[scope].find(name)
        found = super()._elsewhere(scope, name)
        return find_without_prefix(name) if found is None and not scope else found

    def _unknown(self, key: str) -> str:
        return f"{super()._unknown(key)} `optimbuild list optimizers` has those of other packages."


RULES = Registry("rule", scope=SCOPE, locations=["optimbuild.rules"])
"""Parameter-group rules, by name."""

OPTIMIZERS = OptimizerRegistry(
    "optimizer", parent=MMENGINE_OPTIMIZERS, scope=SCOPE, locations=["optimbuild.optimizers"]
)
"""Optimizers, by name. A child of MMEngine's registry, so its names work here too, and those of packages after them."""

OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=MMENGINE_CONSTRUCTORS,
    scope=SCOPE,
    locations=["optimbuild.integrations.mmengine"],
)
"""Optimizer wrapper constructors for MMEngine runners."""

CONSTRUCTORS = Registry("constructor", scope=SCOPE, locations=["optimbuild.config.constructors"])
"""How published constructors read ``paramwise_cfg``, by their names; see :func:`~optimbuild.registry.constructor`."""

HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope=SCOPE, locations=["optimbuild.integrations.mmengine"])
"""Hooks for MMEngine runners."""


def find_optimizer(name: str) -> OptimizerType:
    """Return the optimizer of this name; the options of a class without a description come from its signature.

    Raises:
        UnknownNameError: Nothing is registered under this name.
    """
    found = OPTIMIZERS.get(name)
    return found if isinstance(found, OptimizerType) else _described(name, found)


@lru_cache(maxsize=256)
def _described(name: str, cls: Any) -> OptimizerType:
    """Return the type of a class, with the marks that are registered for it. Cached, because it reads the signature."""
    target = f"{getattr(cls, '__module__', '')}:{getattr(cls, '__qualname__', '')}"
    OPTIMIZERS.import_from_location()  # a name of another scope is found without it
    marks = [known.group_marks for known in OPTIMIZERS.module_dict.values() if getattr(known, "target", "") == target]
    return OptimizerType(name, cls, group_marks=marks[0] if marks else ())


def find_rule(name: str) -> Any:
    """Return the rule of this name.

    Raises:
        UnknownNameError: Nothing is registered under this name.
    """
    try:
        return RULES.get(name)
    except UnknownNameError as error:
        if closest(name, OPTIMIZERS.names(), cutoff=0.9):
            raise UnknownNameError(f"{error} ({shown(name)} is an optimizer: it belongs under `optimizer`.)") from None
        raise
