"""Packages of optimizers: which there are, what each offers, and names that need no prefix.

A package is imported only when a config names one of its optimizers: with its prefix, as in ``timm.lion``, or without
one where the file that lists the package's optimizers has the name.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from optimbuild.errors import AmbiguousNameError, MissingPackageError, RegistrationError, UnknownNameError
from optimbuild.messages import listing, shown, suggest
from optimbuild.registry.class_signature import parameters_of
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.plugins import plugins_are_off

Offer = tuple[str, type, Mapping[str, Any]]
"""An optimizer of a package: its name there, its class, and the defaults that differ from the class's own."""


def classes_of(module: ModuleType) -> Iterable[Offer]:
    """Yield the public optimizer classes of a module.

    >>> import torch
    >>> "SGD" in [name for name, _, _ in classes_of(torch.optim)]
    True
    """
    from torch.optim import Optimizer

    for name in getattr(module, "__all__", dir(module)):
        cls = getattr(module, name)
        if name.startswith("_") or not inspect.isclass(cls) or inspect.isabstract(cls):
            continue
        if issubclass(cls, Optimizer) and cls is not Optimizer:
            yield name, cls, {}


@dataclass(frozen=True)
class OptimizerPackage:
    """A package whose optimizers a config can name.

    Args:
        distribution: What pip installs; also the name of our extra.
        module: The module with its optimizers. Its first part is the prefix of their names.
        offers: Returns what the package offers, from the imported module.
        listed_in: The file that lists its optimizers, beside the package's ``__init__.py``.
        kernels: Which of ``fused`` and ``foreach`` we may choose; None reads them from each signature.
    """

    distribution: str
    module: str
    offers: Callable[[ModuleType], Iterable[Offer]] = field(default=classes_of, compare=False)
    listed_in: str = ""
    kernels: tuple[str, ...] | None = None

    @property
    def prefix(self) -> str:
        """What comes before a name: ``timm`` in ``timm.lion``."""
        return self.module.partition(".")[0]

    @property
    def version(self) -> str:
        """The installed version, or an empty string. Nothing is imported."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return ""

    @property
    def how_to_get(self) -> str:
        """The command that installs it."""
        return f"pip install 'optimbuild[{self.distribution}]'"

    def mentions(self, name: str) -> bool:
        """Say whether the file that lists the package's optimizers has this word, in any case. Nothing is imported."""
        spec = importlib.util.find_spec(self.prefix)
        folders = () if spec is None else spec.submodule_search_locations or ()
        listed_in = self.listed_in or "/".join([*self.module.split(".")[1:], "__init__.py"])
        files = [Path(folder) / listed_in for folder in folders]
        texts = [file.read_text("utf-8", "replace") for file in files if file.is_file()]
        word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        return not texts or any(map(word.search, texts))

    def names(self) -> list[str]:
        """Return the names of its optimizers that a config can build, sorted. This imports the package.

        Raises:
            MissingPackageError: It is not installed, or fails to import.
        """
        return sorted(name for name, (cls, _) in self._offers.items() if _first_parameter(cls) == PARAMS)

    def get(self, name: str) -> OptimizerType | None:
        """Return an optimizer of this package, whatever the case of its name; None if it has none of this name.

        Raises:
            MissingPackageError: The package is not installed, or fails to import.
            RegistrationError: The class does not take parameter groups.
        """
        known = name if name in self._offers else self._folded.get(name.lower())
        return None if known is None else _optimizer_type(self, known)

    def find(self, name: str) -> OptimizerType:
        """Return an optimizer of this package, as :meth:`get` does.

        Raises:
            UnknownNameError: The package has none of this name; lists close names and all names.
        """
        found = self.get(name)
        if found is None:
            names = self.names()
            raise UnknownNameError(
                f"{self.distribution} {self.version} has no optimizer {shown(name)}.{suggest(name, names)} "
                f"With the prefix '{self.prefix}.' there are: {listing(names, 40)}."
            )
        return found

    @cached_property
    def _offers(self) -> Mapping[str, tuple[type, Mapping[str, Any]]]:
        return {name: (cls, defaults) for name, cls, defaults in self.offers(self._imported())}

    @cached_property
    def _folded(self) -> Mapping[str, str]:
        return {name.lower(): name for name in self._offers}

    def _imported(self) -> ModuleType:
        if not self.version:
            raise MissingPackageError(
                f"the optimizers {self.prefix}.* are in {self.distribution}, which is not installed. "
                f"Install it: {self.how_to_get}"
            )
        if plugins_are_off():
            raise MissingPackageError(
                f"OPTIMBUILD_PLUGINS=none forbids to import {self.prefix}, which has {self.prefix}.*"
            )
        try:
            return importlib.import_module(self.module)
        except Exception as error:  # a package may fail in any way, as torchvision does beside another build of torch
            raise MissingPackageError(
                f"{self.distribution} {self.version} is installed, but {self.module} cannot be imported: "
                f"{type(error).__name__}: {shown(str(error), 300)}"
            ) from error


PARAMS = "params"
"""How the packages call the first parameter of a constructor that takes parameter groups."""

PACKAGES: dict[str, OptimizerPackage] = {}
"""The packages, by prefix."""


def declare(package: OptimizerPackage) -> None:
    """Make the optimizers of a package known as ``prefix.Name``."""
    PACKAGES[package.prefix] = package


def find_without_prefix(name: str) -> OptimizerType | None:
    """Return the optimizer of this name in the one installed package that has it; None if none has it.

    Raises:
        AmbiguousNameError: Several packages have one; lists the names with their prefixes.
        MissingPackageError: A package that seems to have it fails to import.
    """
    if plugins_are_off():
        return None
    asked = [package for package in PACKAGES.values() if package.version and package.mentions(name)]
    found = [kind for package in asked if (kind := package.get(name)) is not None]
    if len({(kind.target, repr(kind.defaults)) for kind in found}) > 1:
        choices = ", ".join(kind.name for kind in found)
        raise AmbiguousNameError(f"{shown(name)} is in {len(found)} packages. Write one of: {choices}.")
    return found[0] if found else None


def _first_parameter(cls: type) -> str:
    """Return the name of the first parameter of a class's constructor."""
    return next(iter(parameters_of(cls)), "")


@lru_cache(maxsize=256)
def _optimizer_type(package: OptimizerPackage, name: str) -> OptimizerType:
    """Return an optimizer of a package. Cached, because it keeps what it read from the signature."""
    cls, defaults = package._offers[name]
    full = f"{package.prefix}.{name}"
    if (first := _first_parameter(cls)) != PARAMS:
        raise RegistrationError(f"{full} takes {first!r} first, and not parameter groups: no config can build it")
    return OptimizerType(full, cls, defaults=dict(defaults), kernels=package.kernels)
