"""Names in MMEngine's registries: what a name means in a runner's config, and which name a class has."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from mmengine.registry import DefaultScope
from mmengine.registry import Registry as MMEngineRegistry
from mmengine.registry.root import OPTIMIZERS as MMENGINE_OPTIMIZERS

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.packages import PACKAGES
from optimbuild.registry.registries import OPTIMIZERS
from optimbuild.registry.registry import fill
from optimbuild.registry.scopes import fill_child


def name_of_class(cls: object, path: str = "") -> str:
    """Return a name under which our registry finds an optimizer class; registers a class that has none.

    Args:
        cls: A class, or an entry of our registry.
        path: Its place in the config, for messages.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(cls, OptimizerType):
        return cls.name
    if not inspect.isclass(cls):
        raise ConfigError(f"must be a registered name or a class, not {shown(cls)}", path)
    fill(MMENGINE_OPTIMIZERS)
    taken = {name.lower() for name in OPTIMIZERS.names()}
    found = _entry_of(MMENGINE_OPTIMIZERS, cls)
    if found is not None:
        return _scoped(*found)
    name = cls.__name__
    if name.lower() in taken:  # another class has this name: its module tells them apart
        name = f"{cls.__module__}:{cls.__qualname__}".replace(".", "/")
    OPTIMIZERS.register_module(name=name, module=cls, force=True)
    return name


def resolved_optimizer(name: str) -> str:
    """Return the name by which our registry finds the optimizer that a runner's config means by ``name``.

    A name that MMEngine knows, letter by letter, is MMEngine's: ``SGD`` is torch's SGD, and not our ``sgd`` with
    Nesterov momentum. A name with the prefix of a package is that package's.
    """
    OPTIMIZERS.import_from_location()  # declares the packages
    if name.rpartition(".")[0] in PACKAGES:
        return name
    found = find_entry(MMENGINE_OPTIMIZERS, name)
    if found is None and name not in OPTIMIZERS.names():
        fill(MMENGINE_OPTIMIZERS)  # imports torch, so only where the name is not one of ours
        found = find_entry(MMENGINE_OPTIMIZERS, name)
    return name if found is None else _scoped(*found)


def find_entry(root: MMEngineRegistry, name: str) -> tuple[MMEngineRegistry, str] | None:
    """Return the registry that has what a name means in a runner's config, and the name there; None if there is none.

    Args:
        root: One of MMEngine's own registries.
        name: ``Name`` or ``scope.Name``; or the dotted path of a registered class, as MMEngine writes it when it
            saves a config. Such a path is compared, and never imported.
    """
    if "." not in name:
        return next(((registry, name) for registry in _searched(root) if name in registry.module_dict), None)
    scope, _, rest = name.partition(".")
    registry = root if scope == root.scope else root.children.get(scope)
    if registry is not None and registry is not OPTIMIZERS:
        fill_child(registry)
        found = next((each for each in _with_parents(registry) if rest in each.module_dict), None)
        if found is not None:
            return found, rest
    module, _, attribute = name.rpartition(".")
    target = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    return _entry_of(root, target) if inspect.isclass(target) else None


def _with_parents(registry: MMEngineRegistry) -> Iterator[MMEngineRegistry]:
    """Yield a registry and those above it, where MMEngine looks on: ``mmdet.SGD`` is torch's SGD."""
    above: MMEngineRegistry | None = registry
    while above is not None:
        yield above
        above = above.parent


def _searched(root: MMEngineRegistry) -> Iterator[MMEngineRegistry]:
    """Yield the registries in which MMEngine looks for a name: that of the runner's default scope, then the root."""
    scope = DefaultScope.get_current_instance()
    child = None if scope is None else root.children.get(scope.scope_name)
    if child is not None and child is not OPTIMIZERS:
        fill_child(child)
        yield child
    yield root


def _entry_of(root: MMEngineRegistry, cls: type) -> tuple[MMEngineRegistry, str] | None:
    for registry in (root, *root.children.values()):
        for name, entry in registry.module_dict.items():
            if entry is cls or (isinstance(entry, OptimizerType) and entry.target is cls and not entry.fixed):
                return registry, name
    return None


def _scoped(registry: MMEngineRegistry, name: str) -> str:
    return name if registry is OPTIMIZERS else f"{registry.scope}.{name}"
