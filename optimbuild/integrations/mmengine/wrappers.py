"""The optimizer wrapper that a config asks for: its class, and whether its options are right."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from optimbuild.errors import ConfigError
from optimbuild.integrations.mmengine.cpu_amp import fitting_class
from optimbuild.messages import listing, shown, suggest
from optimbuild.registry.mmengine_names import find_entry
from optimbuild.values import join

CLIPPING: Mapping[str, tuple[Callable[..., Any], str]] = {
    "norm": (clip_grad_norm_, "max_norm"),
    "value": (clip_grad_value_, "clip_value"),
}
"""By the ``type`` of ``clip_grad``: the function that its keys go to, and the key that it needs."""


def wrapper_class(options: dict[str, Any], path: str) -> type:
    """Return the class of the wrapper, taking ``type`` out of its options.

    Args:
        options: The keys of ``optim_wrapper`` beside the optimizer.
        path: The path of ``optim_wrapper`` in the config.

    Raises:
        ConfigError: There is no such wrapper.
    """
    kind, where = options.pop("type", "OptimWrapper"), join(path, "type")
    if isinstance(kind, str):
        found = find_entry(OPTIM_WRAPPERS, kind)
        if found is None:
            names = sorted(OPTIM_WRAPPERS.module_dict)
            raise ConfigError(
                f"unknown optimizer wrapper {shown(kind)}.{suggest(kind, names)} There are: {listing(names)}.", where
            )
        registry, name = found
        kind = registry.module_dict[name]
    if not inspect.isclass(kind) or not issubclass(kind, BaseOptimWrapper):
        raise ConfigError(f"must be an optimizer wrapper, not {shown(kind)}", where)
    return fitting_class(kind)


def wrap(cls: type, options: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> Any:
    """Return an optimizer wrapped as a config asks."""
    return OPTIM_WRAPPERS.build({**copy.deepcopy(dict(options)), "type": cls}, default_args={"optimizer": optimizer})


def refuse_wrong(cls: type, options: Mapping[str, Any], path: str) -> None:
    """Raise a ConfigError for the first option that the wrapper does not take, or refuses.

    Args:
        cls: The wrapper's class.
        options: Its options.
        path: Their path in the config.
    """
    if issubclass(cls, OptimWrapper):
        _refuse_wrong_counts(options.get("accumulative_counts", 1), join(path, "accumulative_counts"))
        _refuse_wrong_clipping(options.get("clip_grad"), join(path, "clip_grad"))
    error = _refusal(cls, options)
    if error is None:
        return
    known = _known(cls)
    unknown = [str(key) for key in options if known is not None and key not in known and key != "_scope_"]
    if unknown and known is not None:
        hint = f"{suggest(unknown[0], known)} It takes: {listing(known)}."
        raise ConfigError(f"{cls.__name__} takes no option {shown(unknown[0])}.{hint}", path)
    culprit = next((key for key in options if _refusal(cls, {key: options[key]}) is not None), None)
    raise ConfigError(
        f"{cls.__name__} refuses: {type(error).__name__}: {shown(str(error), 300)}",
        path if culprit is None else join(path, culprit),
    ) from error


def _refusal(cls: type, options: Mapping[str, Any]) -> Exception | None:
    """Wrap a throw-away optimizer, so that a mistake is found before anything of the model is touched."""
    try:
        wrap(cls, options, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    except Exception as error:  # noqa: BLE001  # whatever a wrapper's author raises
        return error
    return None


def _known(cls: type) -> list[str] | None:
    """Return the options of a wrapper's class and of those that it passes them on to; None where it takes any."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        constructor = cast(Callable[..., Any], vars(base)["__init__"])
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        names |= dict.fromkeys(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return [name for name in names if name != "optimizer"]
    return None


def _refuse_wrong_counts(counts: object, path: str) -> None:
    if not isinstance(counts, int) or isinstance(counts, bool) or counts < 1:
        raise ConfigError(f"must be a whole number from 1, not {shown(counts)}", path)


def _refuse_wrong_clipping(clip: Any, path: str) -> None:
    """Check what MMEngine hands to torch at the first step, and not earlier."""
    if clip is None:
        return
    if not isinstance(clip, Mapping):
        raise ConfigError(f"must be a mapping such as dict(max_norm=1.0), not {shown(clip)}", path)
    kind = clip.get("type", "norm")
    if kind not in CLIPPING:
        raise ConfigError(f"must be 'norm' or 'value', not {shown(kind)}", join(path, "type"))
    function, needed = CLIPPING[kind]
    known = [name for name in inspect.signature(function).parameters if name != "parameters"]
    for key in clip:
        if key not in known and key != "type":
            raise ConfigError(f"unknown key {shown(key)}.{suggest(str(key), known)} Known: {listing(known)}.", path)
    limit = clip.get(needed)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or math.isnan(limit) or limit < 0:
        raise ConfigError(f"must be a number from 0, not {shown(limit)}", join(path, needed))
