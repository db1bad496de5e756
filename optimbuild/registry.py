"""The registries of rules, optimizers and optimizer wrapper constructors, and how things get into them.

They are MMEngine registries with scope ``optimbuild``, each a child of MMEngine's own where there is
one. MMEngine imports ``optimbuild.registry`` by itself when a config says ``optimbuild.NAME``.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any, TypeVar, overload

import mmengine.registry
import pydantic
from mmengine.registry.root import HOOKS as MMENGINE_HOOKS
from mmengine.registry.root import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_CONSTRUCTORS
from mmengine.registry.root import OPTIMIZERS as MMENGINE_OPTIMIZERS
from typing_extensions import dataclass_transform

from optimbuild.errors import (
    ConfigError,
    OptimBuildWarning,
    RegistrationError,
    UnknownNameError,
    closest,
    listing,
    shown,
    suggest,
)
from optimbuild.optimizer_type import OptimizerType, State

SCOPE = "optimbuild"
NO_OPTIMIZERS = frozenset(("Optimizer", "ZeroRedundancyOptimizer"))
"""What stands among MMEngine's optimizers and is none that a config should name."""

PLUGINS = "optimbuild.plugins"
T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where a registered thing comes from.

    Args:
        module: The module that registered or defines it.
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

    >>> RULES.get("No_Decay").__name__
    'NoDecay'
    >>> RULES.get("no_decy")
    Traceback (most recent call last):
    optimbuild.errors.UnknownNameError: unknown rule 'no_decy'. Did you mean 'no_decay'?...
    """

    _imported: bool

    def get(self, key: str) -> Any:
        """Return what is registered under a name: here, by a plugin, or in MMEngine's registry tree.

        Args:
            key: A name, whatever its case for our own, or ``scope.Name`` for another registry of the tree.

        Raises:
            UnknownNameError: Nothing has this name; says what is close and what exists. A dotted
                path is never imported.
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
        except UnknownNameError:
            return False

    def names(self) -> list[str]:
        """Return our own names, sorted, those of plugins included."""
        self.import_from_location()
        return sorted(self._module_dict)

    def origin(self, key: str) -> Origin:
        """Return where the thing of this name comes from: module, file, line and package.

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
        """Look in the registries that exist, and in nothing that a name could import."""
        if self.parent is None or scope == self.scope:
            return None
        fill(self.parent)
        root = self.parent
        if not scope:
            return root.module_dict.get(name)
        registry = root if scope == root.scope else root.children.get(scope)
        if registry is None:
            return None
        registry.import_from_location()  # modules that the other package named itself
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
        self.import_from_location()  # a clash with a name of ours appears here, and not at some later lookup
        names = [module_name] if isinstance(module_name, str) else module_name or [module.__name__]
        for name in names:
            if not name or "." in name or not name.isprintable():
                raise RegistrationError(f"{shown(name)} cannot name a {self.name}: no dots, nothing unprintable")
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
    """Return where a rule, an optimizer or any class or function comes from."""
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
    for name in _distributions(tuple(sys.path)).get(module.partition(".")[0], ()):
        return f"{name} {metadata.version(name)}"
    return ""


@lru_cache(maxsize=1)
def _distributions(path: tuple[str, ...]) -> Mapping[str, list[str]]:  # noqa: ARG001  # another path, another answer
    """Return which distributions hold a top-level module; kept, because it reads every installed file list."""
    return metadata.packages_distributions()


RULES = Registry("rule", scope=SCOPE, locations=["optimbuild.rules"])
"""Parameter-group rules, by name."""

OPTIMIZERS = Registry("optimizer", parent=MMENGINE_OPTIMIZERS, scope=SCOPE, locations=["optimbuild.optimizers"])
"""Optimizers, by name; a child of MMEngine's registry, so its names work here too."""

OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=MMENGINE_CONSTRUCTORS,
    scope=SCOPE,
    locations=["optimbuild.integrations.mmengine"],
)
"""Optimizer wrapper constructors for MMEngine runners."""

HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope=SCOPE, locations=["optimbuild.integrations.mmengine"])
"""Hooks for MMEngine runners."""


def fill(registry: mmengine.registry.Registry) -> None:
    """Have MMEngine register the optimizers of torch, which it does when ``mmengine.optim`` is imported."""
    if registry is MMENGINE_OPTIMIZERS:
        import mmengine.optim  # noqa: F401


@dataclass_transform(frozen_default=True)
def rule(name: str, *, force: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen pydantic dataclass, and register it as a rule.

    Its fields are its options, its ``__call__(param)`` returns an :class:`~optimbuild.Edit` or None.
    A rule that must see the whole model first has ``bind(inventory)``, which returns that callable.

    Args:
        name: The name that a config says.
        force: Replace a rule of the same name.

    Raises:
        RegistrationError: The name is taken (names both owners), or the class is no rule.

    >>> from optimbuild import Edit, ParamInfo, rule
    >>> @rule("slow_embeddings")
    ... class SlowEmbeddings:
    ...     factor: float = 0.1
    ...
    ...     def __call__(self, param: ParamInfo) -> Edit | None:
    ...         return Edit(scale={"lr": self.factor}, why="embedding") if "embedding" in param.kinds else None
    >>> SlowEmbeddings(factor=0.5)
    SlowEmbeddings(factor=0.5)
    """

    def register(cls: Any) -> Any:
        if not inspect.isclass(cls) or not {"__call__", "bind"} & set(dir(cls)):
            raise RegistrationError(
                f"rule {name!r}: {shown(cls)} must be a class with __call__(param) or bind(inventory)"
            )
        config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)
        again = "__pydantic_fields__" in vars(cls)  # the very same class, perhaps under another name
        made = cls if again else pydantic.dataclasses.dataclass(frozen=True, config=config)(cls)
        RULES.register_module(name=name, module=made, force=force)
        return made

    return register


@overload
def optimizer(
    name: str,
    target: str | type,
    *,
    defaults: Mapping[str, Any] = ...,
    fixed: Mapping[str, Any] = ...,
    options: type[pydantic.BaseModel] | None = ...,
    implementations: Iterable[str] | None = ...,
    state: Callable[[Mapping[str, Any]], State] | None = ...,
    force: bool = ...,
) -> OptimizerType: ...


@overload
def optimizer(
    name: str,
    *,
    defaults: Mapping[str, Any] = ...,
    fixed: Mapping[str, Any] = ...,
    options: type[pydantic.BaseModel] | None = ...,
    implementations: Iterable[str] | None = ...,
    state: Callable[[Mapping[str, Any]], State] | None = ...,
    force: bool = ...,
) -> Callable[[type[T]], type[T]]: ...


def optimizer(
    name: str,
    target: str | type | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    options: type[pydantic.BaseModel] | None = None,
    implementations: Iterable[str] | None = None,
    state: Callable[[Mapping[str, Any]], State] | None = None,
    force: bool = False,
) -> Any:
    """Register an optimizer: as data, or as a decorator of its class.

    Args:
        name: The name that a config says.
        target: ``package.module:Class``, or the class itself. The module is imported at the build, or at the first
            plan where its signature must tell the options.
        defaults: Options that differ from the class's own defaults; a config may change them.
        fixed: Options that a config may not change; every plan shows them.
        options: A pydantic model of the options, their types and defaults, so that planning
            imports nothing. Without it they are read from the signature of the class.
        implementations: Which of ``fused`` and ``foreach`` the class has; read from the signature by default.
        state: What it keeps for a parameter under given options, so that :meth:`~optimbuild.Plan.memory`
            imports nothing. Without it a step on the meta device shows it.
        force: Replace an optimizer of the same name.

    Returns:
        The registered :class:`~optimbuild.optimizer_type.OptimizerType`, or the decorator where no target is given.

    Raises:
        RegistrationError: The name is taken; names both owners.

    >>> from optimbuild import optimizer
    >>> optimizer("adam_amsgrad", "torch.optim:Adam", defaults={"amsgrad": True}).name
    'adam_amsgrad'
    """
    frame = sys._getframe(1)
    where = (str(frame.f_globals.get("__name__", "")), os.path.abspath(frame.f_code.co_filename), frame.f_lineno)

    def register(target: str | type) -> OptimizerType:
        if isinstance(target, str) and not all(part.strip() for part in [*target.partition(":")]):
            raise RegistrationError(f"optimizer {name!r}: the target is `package.module:Class`, not {shown(target)}")
        made = OptimizerType(
            name=name,
            target=target,
            defaults=dict(defaults or {}),
            fixed=dict(fixed or {}),
            schema=options,
            kernels=None if implementations is None else tuple(implementations),
            state=state,
            where=where,
        )
        OPTIMIZERS.register_module(name=name, module=made, force=force)
        return made

    def decorate(cls: type[T]) -> type[T]:
        register(cls)
        return cls

    return decorate if target is None else register(target)


_loaded: set[tuple[str, str]] = set()


def load_plugins() -> None:
    """Import what installed packages declare under the entry-point group ``optimbuild.plugins``.

    Each is imported once. One that fails is a warning that names its distribution and the error.
    ``OPTIMBUILD_PLUGINS=none`` in the environment turns plugins off.
    """
    if os.environ.get("OPTIMBUILD_PLUGINS", "").lower() == "none":
        return
    for entry in _declared(tuple(sys.path)):
        if (entry.name, entry.value) in _loaded:
            continue
        _loaded.add((entry.name, entry.value))
        try:
            entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin may raise anything
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
            warnings.warn(
                f"plugin {entry.name!r} of {package} ({entry.value}) failed to import and is left out: "
                f"{type(error).__name__}: {error}",
                OptimBuildWarning,
                stacklevel=3,
            )


@lru_cache(maxsize=1)
def _declared(path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:  # noqa: ARG001  # another path, another answer
    """Return the plugins of all installed packages; kept, because it reads a file of each."""
    return tuple(metadata.entry_points(group=PLUGINS))


def optimizer_type(name: str) -> OptimizerType:
    """Return the optimizer of this name; a plainly registered class is described from its signature.

    Raises:
        UnknownNameError: Nothing is registered under this name.
    """
    found = OPTIMIZERS.get(name)
    return found if isinstance(found, OptimizerType) else _described(name, found)


@lru_cache(maxsize=256)
def _described(name: str, cls: Any) -> OptimizerType:
    """Describe a class; kept, because it reads its source and its signature."""
    return OptimizerType.of_class(name, cls)


def rule_class(name: str) -> Any:
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
