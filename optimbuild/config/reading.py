"""What every dialect gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from optimbuild.config.spec import Spec


@dataclass(frozen=True)
class Reading:
    """A config, read.

    Args:
        spec: The canonical config.
        warnings: What the dialect noticed and the user should know.
        paths: Where keys of the canonical config stand in the dialect, for messages.
        rival: Another reading of the same config, with its name: a plan warns where the two differ.
    """

    spec: Spec
    warnings: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    rival: tuple[str, Reading] | None = None
