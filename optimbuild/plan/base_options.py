"""Base options: what the optimizer of a config gives to every parameter before any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError, UnknownNameError
from optimbuild.registry import OPTIMIZERS, find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import join

Base = Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
"""Returns an optimizer, by its name, and its base options; None asks for the config's own."""


def base_options(spec: Spec) -> Base:
    """Return what :class:`~optimbuild.plan.fold.Fold` starts from: an optimizer by name, and its base options.

    A name is one under ``optimizers`` of the config, with the options that it has there, or that of a registered type,
    which gets the options of the config's own optimizer that it takes.

    Raises:
        ConfigError: A name under ``optimizers`` is that of the config's own optimizer, or of another type.
    """
    known: dict[str | None, tuple[OptimizerType, dict[str, Any]]] = {}

    def base(name: str | None) -> tuple[OptimizerType, dict[str, Any]]:
        if name not in known:
            entry = None if name is None else next((n for n in spec.optimizers if n.lower() == name.lower()), None)
            known[name] = _typed(spec, name) if entry is None else _named(spec, entry)
        return known[name]

    return base


def given_options(spec: Spec, kind: OptimizerType) -> list[dict[str, Any]]:
    """Return the options that a config gives for a type, by each name under which it has that type.

    >>> spec = Spec.of({"optimizer": {"type": "adamw"}, "optimizers": {"slow": {"type": "sgd", "lr": 0.1}}})
    >>> given_options(spec, find_optimizer("sgd")), given_options(spec, find_optimizer("adamw"))
    ([{'lr': 0.1}], [{}])
    """
    entries = [spec.optimizer, *spec.optimizers.values()]
    found = [entry.options for entry in entries if find_optimizer(entry.type).name == kind.name]
    return found or [_taken(spec, kind)]


def path_of(spec: Spec, kind: OptimizerType) -> str:
    """Return where a config gives the options of a type."""
    if find_optimizer(spec.optimizer.type).name == kind.name:
        return "optimizer"
    named = [name for name, entry in spec.optimizers.items() if find_optimizer(entry.type).name == kind.name]
    return join("optimizers", named[0]) if named else "optimizer"


def _named(spec: Spec, name: str) -> tuple[OptimizerType, dict[str, Any]]:
    path, entry = join("optimizers", name), spec.optimizers[name]
    kind = _optimizer(entry.type, join(path, "type"))
    own = _optimizer(spec.optimizer.type, "optimizer.type")
    if name.lower() == own.name.lower():
        raise ConfigError(f"{name!r} is the config's own optimizer. Give this one another name", path)
    if sum(other.lower() == name.lower() for other in spec.optimizers) > 1:
        raise ConfigError(f"{name!r} differs from another name by its case only", path)
    if name.lower() in map(str.lower, OPTIMIZERS.names()) and name.lower() != kind.name.lower():
        raise ConfigError(f"{name!r} is another optimizer than {kind.name}. Give this one another name", path)
    return kind, kind.complete(entry.options, path)


def _typed(spec: Spec, name: str | None) -> tuple[OptimizerType, dict[str, Any]]:
    if name is None:
        kind = _optimizer(spec.optimizer.type, "optimizer.type")
        return kind, kind.complete(spec.optimizer.options)
    try:
        kind = find_optimizer(name)
    except UnknownNameError as error:
        there = f" Under `optimizers`: {', '.join(spec.optimizers)}." if spec.optimizers else ""
        raise UnknownNameError(f"{error.message}{there}") from None
    return kind, kind.complete(_taken(spec, kind))


def _taken(spec: Spec, kind: OptimizerType) -> dict[str, Any]:
    """Return those options of the config's own optimizer that another type takes."""
    options = spec.optimizer.options
    return {key: value for key, value in options.items() if key in kind.known and key not in kind.fixed}


def _optimizer(name: str, path: str) -> OptimizerType:
    try:
        return find_optimizer(name)
    except UnknownNameError as error:
        raise UnknownNameError(error.message, path) from None
