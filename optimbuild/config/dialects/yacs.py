"""The yacs dialect: the configs of InternVL and InternImage."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from yacs.config import CfgNode

from optimbuild.config.reading import Reading
from optimbuild.config.spec import ConfigPart, Optimizers, ResumeSpec, Spec, Zero
from optimbuild.errors import ConfigError, UnknownNameError
from optimbuild.messages import closest, shown
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import Index, NonNegative, Number, Positive, Switch, plain, validated

PUBLISHED = frozenset(
    (
        "START_EPOCH",
        "EPOCHS",
        "WARMUP_EPOCHS",
        "WARMUP_LR",
        "MIN_LR",
        "CLIP_GRAD",
        "AUTO_RESUME",
        "ACCUMULATION_STEPS",
        "USE_CHECKPOINT",
        "LR_SCHEDULER",
        "EMA",
        "RAND_INIT_FT_HEAD",
    )
)
"""Keys under ``TRAIN`` that the published projects have and we do not read. They are no misspelt keys of ours."""


def _literal(value: Any) -> Any:
    """Read a string as the Python literal that it spells, as yacs does."""
    if isinstance(value, str) and len(value) < 1000:
        try:
            return ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return value
    return value


Literal = BeforeValidator(_literal)


class OptimizerKeys(ConfigPart):
    """The keys under ``TRAIN.OPTIMIZER``."""

    model_config = ConfigDict(extra="forbid")

    NAME: str = "adamw"
    """A registered optimizer, whatever its case."""
    EPS: Annotated[NonNegative, Literal] = 1e-8
    """``eps`` of optimizers of the Adam family."""
    BETAS: Annotated[tuple[Number, Number], Literal] = (0.9, 0.999)
    """``betas`` of optimizers of the Adam family."""
    MOMENTUM: Annotated[NonNegative, Literal] = 0.9
    """``momentum`` of optimizers of the SGD family."""
    USE_ZERO: Annotated[Switch, Literal] = False
    """Shard the optimizer state."""
    FREEZE_BACKBONE: Annotated[tuple[Index, ...] | None, Literal] = None
    """Levels to freeze, such as ``[0, 1]``."""
    DCN_LR_MUL: Annotated[Positive | None, Literal] = None
    """LR factor of deformable convolutions."""
    OPTIMIZERS: Annotated[Optimizers, Literal] = Field(default_factory=dict)
    """``optimizers`` of our dialect."""
    RULES: Annotated[tuple[Any, ...], Literal] = ()
    """More rules, as in our dialect; they apply after the rules of the other keys."""
    ZERO: Annotated[Zero, Literal] = False
    """``zero`` of our dialect."""
    IMPLEMENTATION: str = "auto"
    """``implementation`` of our dialect."""
    STRICT: Annotated[Switch, Literal] = True
    """``strict`` of our dialect."""
    WATCH: Annotated[Switch, Literal] = True
    """``watch`` of our dialect."""
    RESUME: Annotated[ResumeSpec, Literal] = ResumeSpec()
    """``resume`` of our dialect."""
    REFERENCE_QUIRKS: Annotated[Switch, Literal] = False
    """Do what the published code does where it departs from its own documentation."""


class TrainKeys(ConfigPart):
    """The keys under ``TRAIN`` that belong to the optimizer."""

    model_config = ConfigDict(extra="ignore")

    WEIGHT_DECAY: Annotated[NonNegative, Literal] = 0.05
    """Weight decay."""
    BASE_LR: Annotated[NonNegative, Literal] = 5e-4
    """Learning rate of the layers at the top."""
    LR_LAYER_DECAY: Annotated[Switch, Literal] = False
    """Layer-wise LR decay."""
    LR_LAYER_DECAY_RATIO: Annotated[NonNegative, Literal] = 0.875
    """Its ratio."""
    OPTIMIZER: OptimizerKeys = OptimizerKeys()
    """The optimizer's keys."""


KEYS = {"TRAIN": tuple(TrainKeys.model_fields)}
"""The keys that are read."""


def defaults() -> CfgNode:
    """Return a fresh ``CfgNode`` with our keys and their defaults, to be put under a project's own config.

    >>> defaults().TRAIN.OPTIMIZER.NAME
    'adamw'
    """
    train = TrainKeys().model_dump()
    train["OPTIMIZER"]["RULES"] = list(train["OPTIMIZER"]["RULES"])
    return CfgNode({"TRAIN": train})


def recognises(raw: Mapping[str, Any]) -> bool:
    """Say whether this is a yacs config."""
    return "TRAIN" in raw


def read(raw: Mapping[str, Any]) -> Reading:
    """Translate ``TRAIN`` into a spec. All other keys are ignored.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path.
    """
    train = raw["TRAIN"]
    if not isinstance(train, Mapping):
        raise ConfigError(f"must be a mapping, not {shown(train)}", "TRAIN")
    _refuse_misspelt(train)
    keys: TrainKeys = validated(TrainKeys, plain(train, "TRAIN"), "TRAIN")
    corrected, published = _corrected(keys), _published(keys)
    if keys.OPTIMIZER.REFERENCE_QUIRKS:
        return replace(published, rival=("without REFERENCE_QUIRKS", corrected))
    known = corrected.spec.optimizer.type in PUBLISHED_OPTIMIZERS
    rival = ("under the published code (REFERENCE_QUIRKS: True)", published) if known else None
    return replace(corrected, warnings=_unused(keys), rival=rival)


PUBLISHED_OPTIMIZERS = ("adamw", "sgd", "sgd_linear_probing")
"""The optimizers that the published code has."""
NODE = "TRAIN.OPTIMIZER"
PATHS = {
    "optimizer": NODE,
    "optimizer.type": f"{NODE}.NAME",
    "optimizer.lr": "TRAIN.BASE_LR",
    "optimizer.weight_decay": "TRAIN.WEIGHT_DECAY",
    "optimizer.eps": f"{NODE}.EPS",
    "optimizer.betas": f"{NODE}.BETAS",
    "optimizer.momentum": f"{NODE}.MOMENTUM",
    "optimizers": f"{NODE}.OPTIMIZERS",
    "zero": f"{NODE}.ZERO",
    "implementation": f"{NODE}.IMPLEMENTATION",
    "strict": f"{NODE}.STRICT",
    "watch": f"{NODE}.WATCH",
    "resume": f"{NODE}.RESUME",
}
"""For keys of the canonical config their paths in this dialect."""

RULE_PATHS = {
    "no_decay": {"": "TRAIN"},
    "layer_decay": {"": "TRAIN.LR_LAYER_DECAY", ".ratio": "TRAIN.LR_LAYER_DECAY_RATIO"},
    "dcn_lr": {"": f"{NODE}.DCN_LR_MUL", ".factor": f"{NODE}.DCN_LR_MUL"},
    "freeze": {"": f"{NODE}.FREEZE_BACKBONE", ".levels": f"{NODE}.FREEZE_BACKBONE"},
    "internvl_reference": {
        "": f"{NODE}.REFERENCE_QUIRKS",
        ".layer_decay_ratio": "TRAIN.LR_LAYER_DECAY_RATIO",
        ".freeze_levels": f"{NODE}.FREEZE_BACKBONE",
    },
}
"""For the rules that published keys become: the paths of those keys, by option."""


def _paths(own: Sequence[Mapping[str, Any]], more: int) -> dict[str, str]:
    """Return the paths of all keys, given the rules of published keys and the number of rules under ``RULES``."""
    paths = dict(PATHS)
    for i, rule in enumerate(own):
        paths |= {f"rules[{i}]{option}": path for option, path in RULE_PATHS[rule["type"]].items()}
    return paths | {f"rules[{len(own) + i}]": f"{NODE}.RULES[{i}]" for i in range(more)}


def _refuse_misspelt(train: Mapping[str, Any]) -> None:
    ours = list(TrainKeys.model_fields)
    for key in train:
        if key in ours or key in PUBLISHED:
            continue
        close = closest(str(key), ours, n=1, cutoff=0.8)
        if close:
            raise ConfigError(f"unknown key {shown(key)}. Did you mean {close[0]!r}?", "TRAIN")


def _reading(keys: TrainKeys, optimizer: dict[str, Any], rules: list[dict[str, Any]]) -> Reading:
    node = keys.OPTIMIZER
    zero = node.ZERO if node.ZERO is not False else node.USE_ZERO
    paths = _paths(rules, len(node.RULES))
    spec = {
        "optimizer": optimizer,
        "optimizers": {name: each.model_dump() for name, each in node.OPTIMIZERS.items()},
        "rules": [*rules, *node.RULES],
        "zero": zero if isinstance(zero, bool) else zero.model_dump(),
        "implementation": node.IMPLEMENTATION,
        "strict": node.STRICT,
        "watch": node.WATCH,
        "resume": node.RESUME.model_dump(),
    }
    try:
        return Reading(Spec.of(spec), paths=paths)
    except ConfigError as error:
        raise error.moved(paths) from None


def _kind(keys: TrainKeys) -> OptimizerType:
    try:
        return find_optimizer(keys.OPTIMIZER.NAME)
    except UnknownNameError as error:
        raise UnknownNameError(error.message, PATHS["optimizer.type"]) from None


def _optimizer(keys: TrainKeys) -> dict[str, Any]:
    """Return the optimizer with those options of the published keys that it takes."""
    kind = _kind(keys)
    asked = {"lr": keys.BASE_LR, "weight_decay": keys.WEIGHT_DECAY, **_given(keys)}
    return {"type": kind.name, **{k: v for k, v in asked.items() if k in kind.known and k not in kind.fixed}}


def _given(keys: TrainKeys) -> dict[str, Any]:
    """Return the options ``eps``, ``betas`` and ``momentum``, where the config gives them.

    For an optimizer that the published code does not have, the published default counts as not given.
    """
    node, published = keys.OPTIMIZER, _kind(keys).name in PUBLISHED_OPTIMIZERS
    given = [key for key in ("EPS", "BETAS", "MOMENTUM") if key in node.model_fields_set]
    fields = OptimizerKeys.model_fields
    return {key.lower(): getattr(node, key) for key in given if published or getattr(node, key) != fields[key].default}


def _unused(keys: TrainKeys) -> tuple[str, ...]:
    """Return a warning for each option that the config gives and the optimizer ignores."""
    kind, given = _kind(keys), _given(keys)
    warnings = []
    if "WEIGHT_DECAY" in keys.model_fields_set:
        given["weight_decay"] = keys.WEIGHT_DECAY
        if "weight_decay" not in kind.known:
            warnings.append(f"TRAIN.WEIGHT_DECAY is not used: {kind.name} takes no weight decay")
    for key in given.keys() & kind.fixed.keys():
        if given[key] != kind.fixed[key]:
            where = PATHS[f"optimizer.{key}"]
            warnings.append(f"{where} is not used: {kind.name} fixes {key} to {kind.fixed[key]!r}, not {given[key]!r}")
    return tuple(sorted(warnings))


def _corrected(keys: TrainKeys) -> Reading:
    """Return the config as the published documentation describes it."""
    node, optimizer = keys.OPTIMIZER, _optimizer(keys)
    rules: list[dict[str, Any]] = []
    if "weight_decay" in _kind(keys).known:
        rules.append({"type": "no_decay", "optional": True, "other_biases": False, "vectors": False})
    if keys.LR_LAYER_DECAY:
        rules.append({"type": "layer_decay", "ratio": keys.LR_LAYER_DECAY_RATIO})
    if node.DCN_LR_MUL is not None:
        rules.append({"type": "dcn_lr", "factor": node.DCN_LR_MUL})
    if node.FREEZE_BACKBONE:
        rules.append({"type": "freeze", "levels": node.FREEZE_BACKBONE, "keep_norm_stats": "warn"})
    return _reading(keys, optimizer, rules)


def _published(keys: TrainKeys) -> Reading:
    """Return the config as the published code reads it; see the rule :mod:`optimbuild.rules.internvl_reference`."""
    node, optimizer = keys.OPTIMIZER, _optimizer(keys)
    if optimizer["type"] == "sgd_linear_probing":  # it is documented as without weight decay, but the code keeps it
        optimizer = {"type": "sgd", "lr": keys.BASE_LR, "weight_decay": keys.WEIGHT_DECAY, "nesterov": False}
    reference: dict[str, Any] = {"type": "internvl_reference", "freeze_levels": node.FREEZE_BACKBONE or ()}
    rules = [reference]
    if keys.LR_LAYER_DECAY:
        reference["layer_decay_ratio"] = keys.LR_LAYER_DECAY_RATIO
        if node.DCN_LR_MUL is not None:  # the published code reads it only with layer decay
            rules.append({"type": "dcn_lr", "factor": node.DCN_LR_MUL, "optional": True})
    return _reading(keys, optimizer, rules)
