"""``modules`` of a wrapper's config: an optimizer for some modules only, as MMagic's constructor reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model.patterns import REGEX, Pattern
from optimbuild.values import join

KEY = "modules"
ALL = ".*"
READERS = ("OptimBuildConstructor", "MultiOptimWrapperConstructor")
"""The constructors that read it."""
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


def restriction(wrapper: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    r"""Return the rule that freezes everything outside of ``modules``; none where that is everything, or not given.

    Args:
        wrapper: The wrapper's config, as plain data.
        path: Its path, for messages.

    Raises:
        ConfigError: ``modules`` is neither a text nor a list of texts, or one is no regular expression; or the config's
            constructor does not read it, or not beside ``paramwise_cfg``.

    >>> restriction({"modules": ["unet", ".*lora"], "constructor": READERS[1]}, "optim_wrapper")[0]["patterns"]
    ['unet', 're:^(?:.*lora)(?:\\.|$)']
    """
    given = wrapper.get(KEY)
    if given is None:
        return []
    names = [given] if isinstance(given, str) else given
    constructor = str(wrapper.get("constructor")).rpartition(".")[2]
    if constructor not in READERS:
        raise ConfigError(f"is read by the constructors optimbuild.{' and '.join(READERS)} only", join(path, KEY))
    if constructor != READERS[0] and wrapper.get("paramwise_cfg"):
        told = f"{constructor} takes none beside `modules`; constructor='optimbuild.{READERS[0]}' does"
        raise ConfigError(told, join(path, "paramwise_cfg"))
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(
            f"must be the name of a module, a regular expression, or a list of them, not {shown(given)}",
            join(path, KEY),
        )
    if ALL in names:
        return []
    patterns = [_pattern(name, join(path, KEY)) for name in names]
    return [{"type": "train_only", "patterns": patterns, "keep_norm_stats": False}]


def _pattern(name: str, path: str) -> str:
    """Return a name as it is, and a regular expression over the names of modules as one over those of parameters."""
    if _NAME.fullmatch(name):
        return name
    pattern = rf"{REGEX}^(?:{name})(?:\.|$)"
    try:
        Pattern(pattern)
    except ValueError as error:
        raise ConfigError(f"{shown(name)} {error}", path) from None
    return pattern
