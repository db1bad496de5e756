"""The classic keys of ``paramwise_cfg``, as MMEngine, MMPretrain, MMPose and MMSegmentation read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from optimbuild.config.published import Published, Translation
from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.registry import constructor, find_rule
from optimbuild.values import join, validated

KEYS_OF_MMCV = (
    "custom_keys",
    "bias_lr_mult",
    "bias_decay_mult",
    "norm_decay_mult",
    "dwconv_decay_mult",
    "dcn_offset_lr_mult",
    "bypass_duplicate",
)
"""What the default constructor of mmcv 1.x reads of ``paramwise_cfg``."""

HOOK_MARKS = ("fix_lr",)
"""Entries of a group that hooks of published runners read, and no optimizer: SimSiam's hook reads ``fix_lr``."""


@constructor("OptimBuildConstructor")
@constructor("DefaultOptimWrapperConstructor")
@constructor("ForceDefaultOptimWrapperConstructor")
@constructor("MultiOptimWrapperConstructor")
@constructor("SeparateOptimWrapperConstructor")
def classic(published: Published) -> Translation:
    """Read the keys as MMEngine's default constructor does; they are the options of the rule ``paramwise``."""
    return _translated(published, dict(published.paramwise_cfg or {}))


@constructor("DefaultOptimizerConstructor")
def classic_of_mmcv(published: Published) -> Translation:
    """Read the keys as the default constructor of mmcv 1.x does, which knows fewer of them, and two in a custom key."""
    given = dict(published.paramwise_cfg or {})
    keys, idle = _split(given, KEYS_OF_MMCV, "")
    custom = keys.get("custom_keys")
    if isinstance(custom, Mapping) and all(isinstance(entry, Mapping) for entry in custom.values()):
        parts = {
            name: _split(entry, ("lr_mult", "decay_mult"), f"custom_keys[{name!r}].") for name, entry in custom.items()
        }
        keys["custom_keys"] = {name: kept for name, (kept, _) in parts.items()}
        idle += [path for _, left in parts.values() for path in left]
    warnings = [f"{published.cfg}: {published.name} ignores {listing(idle)}, and so does the plan"] if idle else []
    made = _translated(published, keys)
    return replace(made, warnings=(*warnings, *made.warnings))


def _split(given: Mapping[str, Any], known: Collection[str], path: str) -> tuple[dict[str, Any], list[str]]:
    """Return the entries that are known, and the paths of the others."""
    kept = {key: value for key, value in given.items() if key in known}
    return kept, [f"{path}{key}" for key in given if key not in known]


@constructor("LearningRateDecayOptimWrapperConstructor")
def layered(published: Published) -> Translation:
    """Read the keys as MMPretrain's constructor does, which decays the LR by layer."""
    keys = dict(published.paramwise_cfg or {})
    made = _translated(published, {"layer_decay_rate": 1.0, **keys} if keys else keys)
    if "layer_decay_rate" in keys:
        return made
    return replace(made, paths={**made.paths, "rules[0].layer_decay_rate.*": published.cfg})


def _translated(published: Published, keys: dict[str, Any]) -> Translation:
    if not keys:
        return Translation()
    keys = _with_marks(keys)
    _refuse_wrong(published, keys)
    keys, warnings = _effective(published, keys)
    rule = {"type": "paramwise", "optional": True, **keys}
    return Translation([rule], warnings=warnings, paths={"rules[0]": published.cfg})


def _with_marks(keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys with what published hooks read as marks of the custom keys that have it."""
    custom = keys.get("custom_keys")
    if not isinstance(custom, Mapping):
        return keys
    made = {}
    for name, entry in custom.items():
        found = [mark for mark in HOOK_MARKS if isinstance(entry, Mapping) and mark in entry]
        if found and isinstance(entry.get("marks", {}), Mapping):
            marks = {**{mark: entry[mark] for mark in found}, **entry.get("marks", {})}
            entry = {**{key: value for key, value in entry.items() if key not in found}, "marks": marks}
        made[name] = entry
    return {**keys, "custom_keys": made}


def _refuse_wrong(published: Published, keys: Mapping[str, Any]) -> None:
    """Check the keys against the optimizer's options, as MMEngine does."""
    cfg, kind = published.cfg, published.kind
    rule = validated(find_rule("paramwise"), keys, cfg)
    for key, custom in rule.custom_keys.items():
        kind.refuse_unknown([k for k in custom.extra if k not in kind.group_marks], join(cfg, "custom_keys", key))
    by_key = keys.get("custom_keys") or {}

    def multipliers(names: tuple[str, ...], custom: str) -> list[str]:
        set_there = [name for name in names if keys.get(name) is not None]
        return [*set_there, *(f"custom_keys[{key!r}].{custom}" for key in by_key if custom in by_key[key])]

    needed = {
        "lr": multipliers(("bias_lr_mult", "dcn_offset_lr_mult", "layer_decay_rate"), "lr_mult"),
        "weight_decay": multipliers(("bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult"), "decay_mult"),
    }
    for option, names in needed.items():
        if names and published.optimizer.options.get(option) is None:
            why = f"is required, because paramwise_cfg.{names[0]} multiplies it"
            raise ConfigError(why, join(published.where, option))


def _effective(published: Published, keys: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the keys that count, and warnings about those that do nothing without a weight decay."""
    if published.optimizer.options.get("weight_decay") is not None:
        return keys, []
    idle = ["flat_decay_mult"] if keys.get("flat_decay_mult") is not None else []
    if keys.get("custom_keys") and keys.get("layer_decay_rate") is not None:
        idle.append("custom_keys")
    kept = {key: value for key, value in keys.items() if key not in idle}
    told = [f"{join(published.cfg, key)} does nothing, because the optimizer is given no weight_decay" for key in idle]
    return kept, told
