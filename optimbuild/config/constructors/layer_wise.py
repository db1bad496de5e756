"""Layer-wise LR decay as MMDetection, MMSegmentation, MMAction2 and MMPose read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.config.published import Published, Translation
from optimbuild.config.spec import ConfigPart
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.registry import constructor
from optimbuild.values import Index, Ratio, join

CONVNEXT = {"ConvNeXt": "convnext"}
VITS = {"BEiT": "beit", "MAE": "beit"}
VIDEO = {"MViT": "mvit", "VisionTransformer": "mvit"}
TABLES: Mapping[str, Mapping[str, str]] = {"mmdet": CONVNEXT, "mmseg": CONVNEXT | VITS, "mmaction": VIDEO}
"""By scope the tables that its ``LearningRateDecayOptimizerConstructor`` has, by a piece of the backbone's class."""
EVERYWHERE = {table: name for tables in TABLES.values() for table, name in tables.items()}
"""All of them together, for a config that does not say which scope it is of."""
STAGES = {"ConvNeXt": "convnext_stages"}


class DecayKeys(ConfigPart):
    """What ``LearningRateDecayOptimizerConstructor`` reads."""

    num_layers: Index
    """The number of layers below the top."""
    decay_rate: Ratio
    """LR factor from one layer to the next one towards the input."""
    decay_type: str = "layer_wise"
    """``layer_wise``, or any text that has it in it; or ``stage_wise``."""


class LayerDecayKeys(ConfigPart):
    """What the constructors with ``layer_decay_rate`` read."""

    num_layers: Index
    """The number of layers below the top."""
    layer_decay_rate: Ratio
    """LR factor from one layer to the next one towards the input."""


WHOLE_NAMES = ("pos_embed", "cls_token")
"""What several projects spare by its whole name: parameters of the model itself, and not of its backbone."""


def no_decay(*keywords: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the rule that gives no weight decay to biases, to what has exactly one dimension, and by names.

    Args:
        keywords: Pieces of names.
        names: Whole names.
    """
    off = ("norm", "other_biases", "vectors", "hints", "inner_hints", "marks")
    more: dict[str, Any] = {"keywords": keywords} if keywords else {}
    more |= {"names": tuple(names)} if names else {}
    return {
        "type": "no_decay",
        **dict.fromkeys(off, False),
        "decay_scalars": True,
        "first_names": True,
        **more,
        "optional": True,
    }


def layer_decay(
    ratio: float, layers: str | Mapping[str, str], num_layers: int, below: Sequence[str] = ("backbone",), **more: Any
) -> dict[str, Any]:
    """Return the rule for a depth table whose backbone has this place in the model."""
    sizes = {"layers": layers, "num_layers": num_layers, "below": below}
    return {"type": "layer_decay", "ratio": ratio, **sizes, **more, "optional": True}


def paths_of(published: Published, rules: Sequence[Any], rate: str, *more: str) -> dict[str, str]:
    """Return the keys from which a rule for a depth table is read, which is the last of some rules.

    Args:
        published: What the constructor is given.
        rules: The rules.
        rate: The key that gives the ratio.
        more: Keys that the rule calls the same, beside ``num_layers``.
    """
    keys = {"ratio": rate, "num_layers": "num_layers", **{key: key for key in more}}
    return {f"rules[{len(rules) - 1}].{option}": join(published.cfg, key) for option, key in keys.items()}


@constructor("LearningRateDecayOptimizerConstructor", keys=DecayKeys)
def learning_rate_decay(published: Published) -> Translation:
    """Read the constructor of MMDetection, MMSegmentation and MMAction2, which have one of this name each."""
    if not published.paramwise_cfg:
        return Translation()
    keys, where = published.read(DecayKeys), join(published.cfg, "decay_type")
    published.require_options("lr", "weight_decay")
    if "layer_wise" in keys.decay_type:
        tables = TABLES.get(published.scope, EVERYWHERE)
    elif keys.decay_type == "stage_wise" and published.scope != "mmaction":
        tables = STAGES
    else:
        raise ConfigError(f"must be 'layer_wise' or 'stage_wise', not {shown(keys.decay_type)}", where)
    names = () if published.scope == "mmaction" else WHOLE_NAMES
    rules = [no_decay(names=names), layer_decay(keys.decay_rate, tables, keys.num_layers)]
    if published.scope == "mmaction":
        why = f"the {published.name} of MMAction2 refuses it"
        without = ("BatchNorm", "InstanceNorm", "_NormBase")
        rules.insert(0, {"type": "require", "without": without, "because": why, "optional": True})
    paths = paths_of(published, rules, "decay_rate")
    return Translation(rules, warnings=published.ignored(DecayKeys), paths=paths)


@constructor("LayerDecayOptimizerConstructor", keys=LayerDecayKeys)
def layer_decay_of_vits(published: Published) -> Translation:
    """Read the older constructor of MMSegmentation, for BEiT and MAE; its ``decay_type`` counts for nothing."""
    return _with_rate(published, CONVNEXT | VITS, names=WHOLE_NAMES)  # an empty paramwise_cfg fails there too


@constructor("LayerDecayOptimWrapperConstructor", keys=LayerDecayKeys)
def layer_decay_of_poses(published: Published) -> Translation:
    """Read the constructor of MMPose, for ViTPose."""
    if published.paramwise_cfg == {}:
        return Translation()
    return _with_rate(published, "vit", "pos_embed")


def _with_rate(
    published: Published, tables: str | Mapping[str, str], *keywords: str, names: Sequence[str] = ()
) -> Translation:
    if published.paramwise_cfg is None:
        raise ConfigError(f"is required: {published.name} fails without it", published.cfg)
    keys = published.read(LayerDecayKeys)
    published.require_options("lr", "weight_decay")
    rules = [no_decay(*keywords, names=names), layer_decay(keys.layer_decay_rate, tables, keys.num_layers)]
    paths = paths_of(published, rules, "layer_decay_rate")
    return Translation(rules, warnings=published.ignored(LayerDecayKeys), paths=paths)
