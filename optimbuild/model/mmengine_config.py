"""Running an MMEngine config file in Python, and building its model.

Such a file is a program. It is run only where somebody names it by its path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import printable, shown


def run_config(path: str) -> Config:
    """Run a config file in Python, with its ``_base_`` files and ``custom_imports``, and return the config.

    Args:
        path: A ``.py`` file. **It is run**: give only what you would run as a program.

    Raises:
        ConfigError: It is missing, or raises.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"{printable(path)}: no such file")
    try:
        return Config.fromfile(path, format_python_code=False)
    except (OptimBuildError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a program may raise anything
        raise ConfigError(
            f"{printable(path)} cannot be read: {type(error).__name__}: {shown(str(error), 300)}"
        ) from error


def model_builder(path: str) -> Callable[[], Any]:
    """Return a function that builds the ``model`` of a config file in Python.

    Args:
        path: A ``.py`` file. **It is run**, as by :func:`run_config`.

    Raises:
        ConfigError: As :func:`run_config`, or the file has no ``model``.
    """
    config = run_config(path)
    if not isinstance(config.get("model"), Mapping):
        raise ConfigError(f"{printable(path)} has no `model` to build, so a model must be named beside it")

    def build() -> Any:
        with MODELS.switch_scope_and_registry(config.get("default_scope", "mmengine")) as registry:
            return registry.build(config.model)

    return build
