"""MMAction2's TSM: seven groups, with twice the LR for biases, and five and ten times for the last layer."""

from __future__ import annotations

from typing import Any

from optimbuild.config.constructors.torch_classes import in_dimensions, of_torch
from optimbuild.config.published import Published, Translation
from optimbuild.config.spec import ConfigPart
from optimbuild.registry import constructor
from optimbuild.values import Switch

CONVOLUTIONS = (*in_dimensions("Conv", "ConvTranspose"), *of_torch("_ConvNd"))
LAYERS = (*CONVOLUTIONS, *of_torch("Linear", "LazyLinear"))
NORMS = (*in_dimensions("BatchNorm"), *of_torch("_BatchNorm", "SyncBatchNorm", "GroupNorm"))
ORDER: tuple[dict[str, Any], ...] = (
    {"name": "first_conv_weight"},
    {"name": "first_conv_bias", "lr_mult": 2.0, "weight_decay": 0.0},
    {"name": "normal_weight"},
    {"name": "normal_bias", "lr_mult": 2.0, "weight_decay": 0.0},
    {"name": "norms", "weight_decay": 0.0},
    {"name": "last_weight", "lr_mult": 5.0},
    {"name": "last_bias", "lr_mult": 10.0, "weight_decay": 0.0},
)
"""The seven groups, whether or not anything is in them."""


class TsmKeys(ConfigPart):
    """What the constructor reads."""

    fc_lr5: Switch
    """Whether the last layer has groups of its own."""


@constructor("TSMOptimWrapperConstructor", keys=TsmKeys)
def tsm(published: Published) -> Translation:
    """Read the constructor of TSM."""
    if not published.paramwise_cfg:
        return Translation()
    keys = published.read(TsmKeys)
    published.require_options("lr", "weight_decay")
    first = {"classes": CONVOLUTIONS, "pick": "of_first_module"}
    last = {"classes": LAYERS, "pick": "last", "needed": True}
    members = [
        {"group": "first_conv_weight", "params": ("weight",), **first},
        {"group": "first_conv_bias", "params": ("bias",), **first},
        *([{"group": "last_weight", "params": ("weight",), **last}] * keys.fc_lr5),
        *([{"group": "last_bias", "params": ("bias",), **last}] * keys.fc_lr5),
        {"group": "normal_weight", "params": ("weight",), "classes": LAYERS, "needed": not keys.fc_lr5},
        {"group": "normal_bias", "params": ("bias",), "classes": LAYERS, "needed": not keys.fc_lr5},
        {"group": "norms", "classes": NORMS},
    ]
    rule = {"type": "groups", "order": ORDER, "members": members, "rest": "freeze", "refuse_other_modules": True}
    return Translation([rule], warnings=published.ignored(TsmKeys))
