"""Keys of ``paramwise_cfg`` that only published constructors of their own read, and which constructor each is of."""

from __future__ import annotations

from collections.abc import Iterable

from optimbuild.registry import CONSTRUCTORS
from optimbuild.values import fields


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
    known = {name: fields(found) for name in CONSTRUCTORS.names() if (found := CONSTRUCTORS.get(name).keys) is not None}
    readers = [name for name, read in known.items() if key in read]
    if not readers:
        return ""
    name = max(readers, key=lambda reader: (len(keys.intersection(known[reader])), -len(known[reader])))
    return f" {name} reads it: name that as `constructor`, or as `like` with ours."
