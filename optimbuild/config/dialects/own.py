"""Our own dialect: a mapping with ``optimizer``."""

from __future__ import annotations

from typing import Any

from optimbuild.config.reading import Reading
from optimbuild.config.spec import Spec

KEYS = dict.fromkeys(Spec.model_fields)
"""The keys that are read."""


def recognises(raw: dict[str, Any]) -> bool:
    """Say whether this is our own dialect."""
    return "optimizer" in raw and "TRAIN" not in raw


def read(raw: dict[str, Any]) -> Reading:
    """Return the config as it is.

    Raises:
        ConfigError: An unknown key or a wrong value, with its path.
    """
    return Reading(Spec.of(raw))
