"""MMYOLO: weight decay scaled by the batch size, and three groups in an order that a hook counts on."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from optimbuild.config.constructors.torch_classes import in_dimensions, of_torch
from optimbuild.config.published import Published, Translation
from optimbuild.config.spec import ConfigPart
from optimbuild.errors import ConfigError
from optimbuild.model.foreign_classes import IMPLICIT, by_name
from optimbuild.registry import constructor
from optimbuild.values import NonNegative, Positive, Whole, join, validated

NORMS = (
    *in_dimensions("BatchNorm", "InstanceNorm"),
    *of_torch("SyncBatchNorm", "_BatchNorm", "_InstanceNorm", "_NormBase"),
)
"""The norms whose weights are not decayed; a layer norm is none of them."""
OF_MMYOLO = tuple([f"mmyolo.{name}" for name in IMPLICIT])
BY_NAME = tuple(map(by_name, IMPLICIT))
BATCH = "batch_size_per_gpu"


class YoloKeys(ConfigPart):
    """What the constructors of MMYOLO read."""

    base_total_batch_size: Positive
    """The batch size for which the weight decay is meant."""


@constructor("YOLOv5OptimizerConstructor", keys=YoloKeys)
def yolov5(published: Published) -> Translation:
    """Read the constructor of YOLOv5, v6 and v8: weights, weights of batch norms, biases."""
    return _in_three_groups(published)


@constructor("YOLOv7OptimWrapperConstructor", keys=YoloKeys)
def yolov7(published: Published) -> Translation:
    """Read the constructor of YOLOv7, whose implicit tensors are beside the weights of batch norms."""
    return _in_three_groups(published, (OF_MMYOLO, BY_NAME))


def _in_three_groups(published: Published, implicit: tuple[tuple[str, ...], ...] = ()) -> Translation:
    if "type" not in published.wrapper:
        raise ConfigError(f"is required: {published.name} fails without it", join(published.path, "type"))
    base, warnings = 64.0, list[str]()
    if published.paramwise_cfg is not None:
        base, warnings = published.read(YoloKeys).base_total_batch_size, published.ignored(YoloKeys)
    options = dict(published.optimizer.options)
    decay = validated(NonNegative, options.pop("weight_decay", 0.0), join(published.where, "weight_decay"))
    scaled = {}
    if BATCH in options:
        batch = validated(Annotated[Whole, Field(gt=0)], options.pop(BATCH), join(published.where, BATCH))
        total = published.world_size * batch
        scaled = {"because": f"weight decay {decay} x {decay_factor(total, base)}, for a batch size of {total}"}
        decay *= decay_factor(total, base)
    decayed = {"weight_decay": decay, **scaled}
    if not published.kind.takes("weight_decay"):
        decayed, told = {}, f"does nothing, because {published.optimizer.type} has none"
        warnings = [*warnings, *[f"{join(published.where, 'weight_decay')} {told}"] * bool(decay)]
    order = [{"name": "weights", **decayed}, {"name": "norms"}, {"name": "biases"}]
    members: list[dict[str, Any]] = [
        {"group": "norms", "params": ("weight",), "classes": NORMS},
        {"group": "weights", "params": ("weight",), "no_classes": sum(implicit, ())},
        {"group": "biases", "params": ("bias",)},
    ]
    members += [{"group": "norms", "params": ("implicit",), "classes": classes} for classes in implicit]
    because = f"{published.name} puts the weight of each into a group"
    affine = {"type": "require", "affine": ("BatchNorm", "InstanceNorm", "_NormBase"), "because": because}
    rule = {"type": "groups", "order": order, "members": members, "rest": "freeze"}
    paths = {"rules[1].order[0].weight_decay": join(published.where, "weight_decay")}
    return Translation([{**affine, "optional": True}, rule], options, warnings, paths)


def decay_factor(total: int, base: float) -> float:
    """Return the factor of the weight decay for a total batch size; Python rounds halves to the even number.

    >>> decay_factor(128, 64), decay_factor(12, 64)
    (2.0, 0.9375)
    """
    return total * max(round(base / total), 1) / base
