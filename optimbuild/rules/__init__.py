"""The rules that come with optimbuild, one file each; each registers itself."""

from optimbuild.rules import (
    dcn_lr,
    freeze,
    groups,
    internvl_reference,
    layer_decay,
    marks,
    match,
    no_decay,
    paramwise,
    products,
    require,
    route,
    train_only,
)

__all__ = [
    "dcn_lr",
    "freeze",
    "groups",
    "internvl_reference",
    "layer_decay",
    "marks",
    "match",
    "no_decay",
    "paramwise",
    "products",
    "require",
    "route",
    "train_only",
]
