"""The registry class: MMEngine's, with lookups that ignore case, suggest, and never import a dotted path."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

import mmengine.registry
from mmengine.registry.root import OPTIMIZERS as MMENGINE_OPTIMIZERS

from optimbuild.errors import ConfigError, MissingPackageError, RegistrationError, UnknownNameError
from optimbuild.messages import listing, shown, suggest
from optimbuild.registry.constructor_type import ConstructorType
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.plugins import load_plugins
from optimbuild.registry.scopes import fill_child

NO_OPTIMIZERS = frozenset(("Optimizer", "ZeroRedundancyOptimizer"))
"""Names in MMEngine's registry of optimizers that a config cannot use as an optimizer."""

OURS = "optimbuild"


@dataclass(frozen=True)
class Origin:
    """The origin of a registered rule or optimizer.

    Args:
        module: The module that registers or defines it.
        file: That module's file, or an empty string.
        line: The line in it, or 0.
        package: The distribution that installed the module and its version, or an empty string.
    """

    module: str
    file: str = ""
    line: int = 0
    package: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else self.module


class Registry(mmengine.registry.Registry):
    """An MMEngine registry whose lookups ignore case, suggest, load plugins, and never import a dotted path.

    >>> from optimbuild.registry import RULES
    >>> RULES.get("No_Decay").__name__
    'NoDecay'
    >>> RULES.get("no_decy")
    Traceback (most recent call last):
    optimbuild.errors.UnknownNameError: unknown rule 'no_decy'. Did you mean 'no_decay'?...
    """

    _imported: bool

    def get(self, key: str) -> Any:
        """Return what is registered under a name: here, by a plugin, or in MMEngine's registries.

        Args:
            key: A name, case-insensitive if it is one of ours; or ``scope.Name`` for another of MMEngine's registries.

        Raises:
            UnknownNameError: Nothing has this name; lists close names and all names. A dotted path is never imported.
        """
        if not isinstance(key, str):
            raise ConfigError(f"a {self.name} is named by a string, not by {shown(key)}")
        scope, _, name = key.rpartition(".")
        ours = scope in ("", self.scope)
        found = self._own(name) if ours else self._elsewhere(scope, name)
        if found is None:
            load_plugins()
            found = self._own(name) if ours else None
        if found is None:
            found = self._elsewhere(scope, name)
        if found is None:
            raise UnknownNameError(self._unknown(key))
        return found

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self.get(key) is not None
        except (UnknownNameError, MissingPackageError):
            return False

    def names(self) -> list[str]:
        """Return our own names and those of plugins, sorted."""
        self.import_from_location()
        return sorted(self._module_dict)

    def origin(self, key: str) -> Origin:
        """Return the origin of a name: module, file, line and package.

        >>> from optimbuild.registry import RULES
        >>> RULES.origin("no_decay").module
        'optimbuild.rules.no_decay'
        """
        return origin(self.get(key))

    def import_from_location(self) -> None:
        """Import our own modules once. MMEngine's own version writes a log line, for which it imports torch."""
        if not self._imported:
            for location in self._locations:
                importlib.import_module(location)
            self._imported = True

    def _own(self, name: str) -> Any:
        self.import_from_location()
        if name in self._module_dict:
            return self._module_dict[name]
        folded = {known.lower(): known for known in self._module_dict}
        return self._module_dict.get(folded.get(name.lower(), ""))

    def _elsewhere(self, scope: str, name: str) -> Any:
        """Search the registries that exist; a name never imports anything."""
        if self.parent is None or scope == self.scope:
            return None
        fill(self.parent)
        root = self.parent
        if not scope:
            return root.module_dict.get(name)
        registry = root if scope == root.scope else root.children.get(scope)
        if registry is None:
            return None
        fill_child(registry)  # imports the modules that the other package lists
        return registry.module_dict.get(name)

    def _unknown(self, key: str) -> str:
        names = self.names()
        more = sorted(set(self.parent.module_dict) - NO_OPTIMIZERS) if self.parent is not None else []
        message = f"unknown {self.name} {shown(key)}.{suggest(key, names) or suggest(key, more)}"
        if "." in key:
            message += " Only registered names can be used here: a dotted path is never imported."
        message += f" There are: {', '.join(names)}."
        return message + (f" Also, from MMEngine: {listing(more, 40)}." if more else "")

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        self.import_from_location()  # so that a clash with a name of ours is found now, not at a later lookup
        names = [module_name] if isinstance(module_name, str) else module_name or [module.__name__]
        for name in names:
            if not name or "." in name or not name.isprintable():
                raise RegistrationError(f"{shown(name)} cannot name an entry: no dots, nothing unprintable")
            taken = {known.lower(): known for known in self._module_dict}.get(name.lower())
            if taken is None or force:
                continue
            owner = self._module_dict[taken]
            if owner is module or (isinstance(owner, OptimizerType) and owner == module):
                continue
            raise RegistrationError(
                f"{self.name} {name!r} is registered twice: as {taken!r} by {origin(owner).module} "
                f"({origin(owner)}) and now by {origin(module).module} ({origin(module)}). Choose "
                "another name, or pass force=True to replace the first."
            )
        super()._register_module(module=module, module_name=module_name, force=True)


def origin(entry: Any) -> Origin:
    """Return the origin of a rule, an optimizer, a reading of a constructor, or any class or function."""
    if isinstance(entry, ConstructorType):
        return origin(entry.read)
    if isinstance(entry, OptimizerType) and not any(entry.where):
        return origin(entry.target)
    if isinstance(entry, OptimizerType):
        module, file, line = entry.where
    else:
        module = getattr(entry, "__module__", type(entry).__module__)
        try:
            file = inspect.getsourcefile(entry) or ""
            line = inspect.getsourcelines(entry)[1]
        except (TypeError, OSError):
            file, line = str(getattr(sys.modules.get(module), "__file__", "") or ""), 0
    return Origin(module, file, line, _package_of(module))


def _package_of(module: str) -> str:
    top = module.partition(".")[0]
    if top == OURS:
        return f"{OURS} {sys.modules[OURS].__version__}"
    for name in _distributions(tuple(sys.path)).get(top, ()):
        return f"{name} {metadata.version(name)}"
    return ""


@lru_cache(maxsize=1)
def _distributions(path: tuple[str, ...]) -> Mapping[str, list[str]]:  # noqa: ARG001  # the key of the cache
    """Return the distributions of each top-level module. Cached, because it reads the file lists of all packages."""
    return metadata.packages_distributions()


def fill(registry: mmengine.registry.Registry) -> None:
    """Import ``mmengine.optim``, which registers the optimizers of torch.

    An import that is interrupted leaves names registered and modules half imported, and the next one would fail
    with "already registered". So both are put back as they were.
    """
    if registry is not MMENGINE_OPTIMIZERS or "mmengine.optim" in sys.modules:
        return
    modules = set(sys.modules)
    registered = [(each, set(each.module_dict)) for each in _mmengine_registries()]
    try:
        importlib.import_module("mmengine.optim")
    except BaseException:
        for name in [name for name in set(sys.modules) - modules if name.startswith("mmengine.")]:
            del sys.modules[name]
        for each, names in registered:
            for name in set(each.module_dict) - names:
                del each.module_dict[name]
        raise


def _mmengine_registries() -> list[mmengine.registry.Registry]:
    return [each for each in vars(mmengine.registry).values() if isinstance(each, mmengine.registry.Registry)]
