"""Layer-wise LR decay of InternImage and InternVL, in their projects for segmentation, detection and driving."""

from __future__ import annotations

from typing import Any

from optimbuild.config.constructors.layer_wise import WHOLE_NAMES, LayerDecayKeys, layer_decay, no_decay, paths_of
from optimbuild.config.published import Published, Translation
from optimbuild.config.spec import ConfigPart
from optimbuild.registry import constructor
from optimbuild.values import Index, NonNegative, Ratio, Switch

NOT_DECAYED = ("relative_position", "norm", "sampling_offsets")
SAMPLING = "re:sampling_offsets|reference_points"
SAMPLING_OUTSIDE_OF_SEGMENTERS = r"re:^(?!decode_head\.|auxiliary_head\.).*(?:sampling_offsets|reference_points)"
"""The names for ``offset_lr_scale``: in detection anywhere, in segmentation only those of the backbone."""
SMALL = 0.1
"""The LR factor of ``backbone_small_lr`` and of ``dino_head``."""


class InternImageKeys(ConfigPart):
    """What InternImage's constructor reads."""

    num_layers: Index
    """The number of layers below the top; by convention the sum of ``depths``."""
    layer_decay_rate: Ratio
    """LR factor from one layer to the next one towards the input."""
    depths: tuple[Index, ...]
    """The number of blocks in each level."""
    offset_lr_scale: NonNegative = 1.0
    """LR factor of sampling offsets and reference points."""
    dino_head: Switch = False
    """Give those of the head a tenth of the LR, and not ``offset_lr_scale``."""
    backbone_small_lr: Switch = False
    """Give everything below the head a tenth of the LR."""


@constructor("CustomLayerDecayOptimizerConstructor", keys=InternImageKeys)
def internimage(published: Published) -> Translation:
    """Read InternImage's constructor; or InternVL's, which has the same name and no ``depths``."""
    if not published.paramwise_cfg:
        return Translation()
    if "depths" not in published.paramwise_cfg:
        return _internvl(published)
    keys = published.read(InternImageKeys)
    published.require_options("lr", "weight_decay")
    rule = layer_decay(
        keys.layer_decay_rate,
        "internimage",
        keys.num_layers,
        below=("backbone", "img_backbone"),
        depths=keys.depths,
        factors=_factors(keys),
    )
    warnings = published.ignored(InternImageKeys)
    if sum(keys.depths) != keys.num_layers:
        warnings.append(
            f"{published.cfg}: num_layers is {keys.num_layers}, and depths are {sum(keys.depths)} blocks; "
            "the published code believes both"
        )
    rules = [no_decay(*NOT_DECAYED), rule]
    return Translation(rules, warnings=warnings, paths=paths_of(published, rules, "layer_decay_rate", "depths"))


def _factors(keys: InternImageKeys) -> tuple[dict[str, Any], ...]:
    """Return the factors beside that of the layer, in the order in which they are multiplied."""
    found: list[dict[str, Any]] = []
    if keys.backbone_small_lr and keys.layer_decay_rate < 1:
        found.append({"factor": SMALL, "only": "below_top"})
    if keys.dino_head:
        found.append({"factor": SMALL, "pattern": SAMPLING, "only": "at_top"})
    if keys.offset_lr_scale != 1:
        offsets = {"factor": keys.offset_lr_scale, "pattern": SAMPLING_OUTSIDE_OF_SEGMENTERS}
        found.append({**offsets, "unless": "at_top"} if keys.dino_head else offsets)
    return tuple(found)


def _internvl(published: Published) -> Translation:
    keys = published.read(LayerDecayKeys)
    published.require_options("lr", "weight_decay")
    rules = [no_decay(names=WHOLE_NAMES), layer_decay(keys.layer_decay_rate, "internvit", keys.num_layers)]
    paths = paths_of(published, rules, "layer_decay_rate")
    return Translation(rules, warnings=published.ignored(LayerDecayKeys), paths=paths)
