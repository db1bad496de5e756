"""Base options: what the optimizer of a config gives to every parameter before any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.errors import UnknownNameError
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType

Base = Callable[[str | None], tuple[OptimizerType, dict[str, Any]]]
"""Returns an optimizer, by its name, and its base options; None asks for the config's own."""


def base_options(spec: Spec) -> Base:
    """Return what :func:`~optimbuild.plan.fold.changes` starts from: an optimizer by name, and its base options."""
    known: dict[str | None, tuple[OptimizerType, dict[str, Any]]] = {}

    def base(name: str | None) -> tuple[OptimizerType, dict[str, Any]]:
        if name not in known:
            kind = _optimizer(spec.optimizer.type, "optimizer.type") if name is None else find_optimizer(name)
            given = spec.optimizer.options
            if name is not None:
                given = {key: value for key, value in given.items() if key in kind.known and key not in kind.fixed}
            known[name] = kind, kind.complete(given)
        return known[name]

    return base


def _optimizer(name: str, path: str) -> OptimizerType:
    try:
        return find_optimizer(name)
    except UnknownNameError as error:
        raise UnknownNameError(error.message, path) from None
