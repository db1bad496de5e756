"""Keys of ``paramwise_cfg`` that only published constructors of their own read, and which constructor each is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from optimbuild.config.constructors.internimage import InternImageKeys
from optimbuild.config.constructors.layer_wise import DecayKeys, LayerDecayKeys
from optimbuild.config.constructors.tsm import TsmKeys
from optimbuild.config.constructors.yolo import YoloKeys
from optimbuild.values import fields

KEYS: Mapping[str, Sequence[str]] = {
    "CustomLayerDecayOptimizerConstructor": fields(InternImageKeys),
    "LearningRateDecayOptimizerConstructor": fields(DecayKeys),
    "LayerDecayOptimWrapperConstructor": fields(LayerDecayKeys),
    "TSMOptimWrapperConstructor": fields(TsmKeys),
    "YOLOv5OptimizerConstructor": fields(YoloKeys),
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
