"""The registered type of an optimizer's class: which name a config would say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from optimbuild.errors import OptimBuildError
from optimbuild.registry import OPTIMIZERS, find_optimizer
from optimbuild.registry.mmengine_names import name_of_class
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.packages import PACKAGES


def kind_of(cls: Any, options: Mapping[str, Any]) -> OptimizerType:
    """Return the registered type of a class; our own names come first, then those of packages and of MMEngine.

    A class that has no name anywhere is registered under its own, so that plans of it can be read.

    Args:
        cls: The class.
        options: The options of a group; a type that fixes an option to another value is not meant.

    >>> import torch
    >>> kind_of(torch.optim.SGD, {}).name, kind_of(torch.optim.Adam, {}).name
    ('sgd', 'torch.Adam')
    """
    named = [kind for kind in _named(cls) if all(options.get(key, value) == value for key, value in kind.fixed.items())]
    return min(named, key=lambda kind: len(kind.fixed)) if named else find_optimizer(name_of_class(cls))


@lru_cache(maxsize=256)
def _named(cls: Any) -> tuple[OptimizerType, ...]:
    ours = tuple([kind for kind in _ours() if _is_of(kind, cls)])
    return ours or tuple([kind for kind in _of_packages(cls) if _is_of(kind, cls)])


def _ours() -> Iterator[OptimizerType]:
    OPTIMIZERS.import_from_location()
    yield from [kind for kind in OPTIMIZERS.module_dict.values() if isinstance(kind, OptimizerType)]


def _of_packages(cls: Any) -> Iterator[OptimizerType]:
    """Yield what the package of a class offers under its name or in another spelling."""
    package = PACKAGES.get(cls.__module__.partition(".")[0])
    try:
        kind = None if package is None or not package.version else package.get(cls.__name__)
    except OptimBuildError:  # it takes no parameter groups, or the package cannot be imported any more
        return
    if kind is not None:
        yield kind


def _is_of(kind: OptimizerType, cls: Any) -> bool:
    if not isinstance(kind.target, str):
        return kind.target is cls
    module, _, name = kind.target.partition(":")
    if name != cls.__name__ or module.partition(".")[0] != cls.__module__.partition(".")[0]:
        return False
    try:
        return kind.load() is cls
    except OptimBuildError:
        return False
