"""How many examples a property is tried on."""

from __future__ import annotations

import os

SHARE = float(os.environ.get("SHARE_OF_EXAMPLES", "1"))
"""The share of the examples that are tried: less where the suite is repeated on another torch."""


def examples(full: int) -> int:
    """Return how many of a property's examples are tried in this environment."""
    return max(1, round(full * SHARE))
