"""The result of reading a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from optimbuild.config.spec import Spec


@dataclass(frozen=True)
class Reading:
    """A config that was read.

    Args:
        spec: The canonical config.
        warnings: The warnings of the dialect.
        paths: For keys of the canonical config their paths in the dialect, for messages.
        module: The module that the optimizer is for, below which names in the spec begin; empty for the whole model.
        modules: Regular expressions over the whole names of the modules that the optimizer is for; none for the whole
            model. Names in the spec are those of the whole model.
        rival: The name of another way to read the same config, and its result; a plan warns where the two differ.
    """

    spec: Spec
    warnings: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    modules: tuple[str, ...] = ()
    rival: tuple[str, Reading] | None = None
