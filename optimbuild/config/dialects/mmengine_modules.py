"""``modules`` of a wrapper's config: an optimizer for some modules only, as MMagic's constructor reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model.named_modules import ModuleText
from optimbuild.values import join, validated

KEY = "modules"
ALL = ".*"
READERS = ("OptimBuildConstructor", "MultiOptimWrapperConstructor")
"""The constructors that read it."""
_SEVERAL = tuple[ModuleText, ...]
_CHILD = re.compile(r"[\w-]+")
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


class Selection(NamedTuple):
    """What one of several optimizers is for.

    Args:
        module: A module, below which names begin; empty where there are expressions.
        expressions: Regular expressions over the whole names of modules, whose parameters keep their names.
    """

    module: str = ""
    expressions: tuple[str, ...] = ()


def restriction(wrapper: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """Return the rule that freezes everything outside of ``modules``; none where that is everything, or not given.

    Args:
        wrapper: The wrapper's config, as plain data.
        path: Its path, for messages.

    Raises:
        ConfigError: ``modules`` is neither a text nor a list of texts, or one is no regular expression; or the config's
            constructor does not read it, not beside ``paramwise_cfg``, or not without it.

    >>> restriction({"modules": ["unet", ".*lora"], "constructor": READERS[1]}, "optim_wrapper")[0]["modules"]
    ('unet', '.*lora')
    """
    constructor, where = _called(wrapper), join(path, KEY)
    if wrapper.get(KEY) is None and constructor != READERS[1]:
        return []
    if KEY not in wrapper:
        raise ConfigError(f"is required where {constructor} has one optimizer", where)
    texts = _expressions(wrapper[KEY], constructor, where)
    if constructor == READERS[1]:
        if wrapper.get("paramwise_cfg") is not None:
            raise ConfigError(_takes_no_paramwise(constructor), join(path, "paramwise_cfg"))
        return [{"type": "train_only", KEY: texts, "as_mmagic": True, "keep_norm_stats": False}]
    if ALL in texts:
        return []
    option = "patterns" if all(map(_NAME.fullmatch, texts)) else KEY
    return [{"type": "train_only", option: texts, "keep_norm_stats": False}]


def selection(name: str, wrapper: Mapping[str, Any], path: str) -> Selection:
    """Return what one of several optimizers is for: what its ``modules`` say, or the module of its name.

    Args:
        name: The optimizer's name.
        wrapper: The wrapper's config, as plain data or not, with the constructor of all of them.
        path: Its path, for messages.

    Raises:
        ConfigError: As :func:`restriction`; or the name is no regular expression.

    >>> selection("critic", {}, "optim_wrapper.critic"), selection(".*lora", {}, "optim_wrapper['.*lora']")
    (Selection(module='critic', expressions=()), Selection(module='', expressions=('.*lora',)))
    """
    constructor, given = _called(wrapper), wrapper.get(KEY)
    where = path if given is None else join(path, KEY)
    texts = _expressions(name if given is None else given, constructor if given is not None else READERS[0], where)
    published = constructor == READERS[1]
    if (
        len(texts) == 1
        and isinstance(given, (str, type(None)))
        and (_CHILD if published else _NAME).fullmatch(texts[0])
    ):
        return Selection(texts[0])
    if published and wrapper.get("paramwise_cfg"):
        raise ConfigError(_takes_no_paramwise(constructor), join(path, "paramwise_cfg"))
    return Selection("", texts)


def _called(wrapper: Mapping[str, Any]) -> str:
    """Return the name of a wrapper's constructor, without its scope."""
    constructor = wrapper.get("constructor")
    return str(getattr(constructor, "__name__", constructor)).rpartition(".")[2]


def _takes_no_paramwise(constructor: str) -> str:
    return f"{constructor} takes none beside `{KEY}` or regular expressions; constructor='optimbuild.{READERS[0]}' does"


def _expressions(given: Any, constructor: str, where: str) -> tuple[str, ...]:
    """Return what is given as a tuple of regular expressions, if it is one or several, and the constructor reads it."""
    if constructor not in READERS:
        raise ConfigError(f"is read by the constructors optimbuild.{' and '.join(READERS)} only", where)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(text, str) and text for text in texts):
        told = "must be the name of a module, a regular expression, or a list of them"
        raise ConfigError(f"{told}, not {shown(given)}", where)
    checked = validated(ModuleText, given, where) if isinstance(given, str) else validated(_SEVERAL, given, where)
    return (checked,) if isinstance(checked, str) else tuple(checked)
