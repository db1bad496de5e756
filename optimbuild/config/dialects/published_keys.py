"""Keys of ``paramwise_cfg`` that only published constructors of their own read, and which constructor each is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

KEYS: Mapping[str, tuple[str, ...]] = {
    "CustomLayerDecayOptimizerConstructor": (
        "num_layers",
        "layer_decay_rate",
        "depths",
        "offset_lr_scale",
        "dino_head",
        "backbone_small_lr",
    ),
    "LearningRateDecayOptimizerConstructor": ("num_layers", "decay_rate", "decay_type"),
    "LayerDecayOptimWrapperConstructor": ("num_layers", "layer_decay_rate"),
    "TSMOptimWrapperConstructor": ("fc_lr5",),
    "YOLOv5OptimizerConstructor": ("base_total_batch_size",),
}
"""By constructor the keys that it reads."""


def reader_of(key: str, given: Iterable[str]) -> str:
    """Return how to have a key read as a published constructor reads it; nothing for a key that none has.

    Args:
        key: The key.
        given: All keys beside it, which tell constructors apart.

    >>> reader_of("decay_rate", ["decay_rate", "num_layers"])
    ' LearningRateDecayOptimizerConstructor reads it: name that as `constructor`, or as `like` with ours.'
    >>> reader_of("norm_decay", ["norm_decay", "num_layers"])
    ''
    """
    keys = set(given)
    readers = [name for name, known in KEYS.items() if key in known]
    if not readers:
        return ""
    name = max(readers, key=lambda reader: (len(keys.intersection(KEYS[reader])), -len(KEYS[reader])))
    return f" {name} reads it: name that as `constructor`, or as `like` with ours."
