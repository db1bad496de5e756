"""The optimizer that an MMEngine config names, found in the scope that the config or the optimizer has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DefaultScope

from optimbuild.config.spec import OptimizerSpec
from optimbuild.errors import ConfigError, UnknownNameError
from optimbuild.messages import shown
from optimbuild.registry import find_optimizer
from optimbuild.registry.mmengine_names import resolved_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.scopes import missing_package
from optimbuild.values import join, plain, validated

SCOPE_OF = "_scope_"
"""The key of an optimizer's config that names its scope."""


def found_optimizer(given: Any, path: str, scope: str | None = None) -> tuple[OptimizerSpec, OptimizerType]:
    """Return the config of an optimizer, by the name that our registry knows, and the optimizer.

    Args:
        given: The config of the optimizer.
        path: Its path, for messages.
        scope: The scope in which its name is looked for first, unless it has its own.

    Raises:
        ConfigError: It has no ``type``, or one that no registry knows.
    """
    options = plain(given, path)
    if isinstance(options, Mapping) and SCOPE_OF in options:
        scope = options[SCOPE_OF]
        if not isinstance(scope, str):
            raise ConfigError(f"must be the name of a scope, not {shown(scope)}", join(path, SCOPE_OF))
        options = {key: value for key, value in options.items() if key != SCOPE_OF}
    optimizer: OptimizerSpec = validated(OptimizerSpec, options, path)
    try:
        with DefaultScope.overwrite_default_scope(scope):
            name = resolved_optimizer(optimizer.type)
            return optimizer.model_copy(update={"type": name}), find_optimizer(name)
    except ConfigError as error:
        named = optimizer.type.partition(".")[0] if "." in optimizer.type else scope
        missing = missing_package(named) if isinstance(error, UnknownNameError) and named else ""
        raise type(error)(f"{error.message} {missing}".rstrip(), join(path, "type")) from error.__cause__


def scope_of_runner() -> str:
    """Return the default scope of the runner that runs here; an empty text without one."""
    scope = DefaultScope.get_current_instance()
    return "" if scope is None else str(scope.scope_name)
