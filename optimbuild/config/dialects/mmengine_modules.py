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
OURS, MULTI = "OptimBuildConstructor", "MultiOptimWrapperConstructor"
"""The constructors that read it: ours, and MMagic's."""
SEPARATE = "SeparateOptimWrapperConstructor"
"""MMRazor's, whose optimizers are each for a module at the top of the model."""
OF_SEVERAL = (MULTI, SEPARATE)
"""The published constructors of several optimizers."""
NO_PARAMWISE = f"{MULTI} takes none beside `{KEY}` or regular expressions; constructor='optimbuild.{OURS}' does"
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

    >>> restriction({"modules": ["unet", ".*lora"], "constructor": MULTI}, "optim_wrapper")[0]["modules"]
    ('unet', '.*lora')
    """
    constructor, where = called(wrapper.get("constructor")), join(path, KEY)
    if not _has_modules(wrapper):
        if constructor == MULTI:
            raise ConfigError(f"is required where {MULTI} has one optimizer", where)
        if constructor == SEPARATE:
            raise ConfigError(f"{SEPARATE} takes several optimizers, each for the module of its name", path)
        return []
    _refuse_other_readers(constructor, where)
    texts = _expressions(wrapper[KEY], where)
    if constructor == MULTI:
        if wrapper.get("paramwise_cfg") is not None:
            raise ConfigError(NO_PARAMWISE, join(path, "paramwise_cfg"))
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
    constructor, where = called(wrapper.get("constructor")), path
    given: Any = name
    if _has_modules(wrapper):
        given, where = wrapper[KEY], join(path, KEY)
        _refuse_other_readers(constructor, where)
    texts = _expressions(given, where)
    if isinstance(given, str) and (_CHILD if constructor in OF_SEVERAL else _NAME).fullmatch(given):
        return Selection(given)
    if constructor == SEPARATE:
        raise ConfigError(f"is no module at the top of the model, for which {SEPARATE} asks", where)
    if constructor == MULTI and wrapper.get("paramwise_cfg"):
        raise ConfigError(NO_PARAMWISE, join(path, "paramwise_cfg"))
    return Selection("", texts)


def called(constructor: Any) -> str:
    """Return the name of a constructor, without its scope.

    >>> called("mmagic.MultiOptimWrapperConstructor"), called(int)
    ('MultiOptimWrapperConstructor', 'int')
    """
    return str(getattr(constructor, "__name__", constructor)).rpartition(".")[2]


def _has_modules(wrapper: Mapping[str, Any]) -> bool:
    """Say whether a wrapper has ``modules``; None is none, but for published constructors, which fail at it."""
    return wrapper.get(KEY) is not None or (KEY in wrapper and called(wrapper.get("constructor")) in OF_SEVERAL)


def _refuse_other_readers(constructor: str, where: str) -> None:
    if constructor not in (OURS, MULTI):
        raise ConfigError(f"is read by the constructors optimbuild.{OURS} and {MULTI} only", where)


def _expressions(given: Any, where: str) -> tuple[str, ...]:
    """Return one regular expression, or several, as a tuple."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(text, str) and text for text in texts):
        told = "must be the name of a module, a regular expression, or a list of them"
        raise ConfigError(f"{told}, not {shown(given)}", where)
    if isinstance(given, str):
        return (validated(ModuleText, given, where),)
    found: tuple[str, ...] = validated(tuple[ModuleText, ...], texts, where)
    return found
