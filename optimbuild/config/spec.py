"""Spec: the canonical config, into which every dialect is translated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from optimbuild.config.limits import refuse_excess
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import Switch, plain, validated


class ConfigPart(BaseModel):
    """A part of a config: frozen, without unknown keys, each field described by the docstring below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class _TypedPart(ConfigPart):
    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(min_length=1)]
    """A registered name, whatever its case."""

    @property
    def options(self) -> dict[str, Any]:
        """All keys that are not fields of this class."""
        return dict(self.model_extra or {})


class OptimizerSpec(_TypedPart):
    """Which optimizer, and its options."""


Optimizers = dict[Annotated[str, StringConstraints(min_length=1, max_length=100)], OptimizerSpec]


class RuleSpec(_TypedPart):
    """Which rule, and its options."""

    optional: Switch = False
    """Do not mind if the rule, or a pattern of it, touches no parameter."""


def _first_stage(value: object) -> object:
    if value != 1 or isinstance(value, bool):
        raise ValueError(
            "must be 1, the stage of torch's ZeroRedundancyOptimizer; for stages 2 and 3 leave `zero` off, "
            "and shard the model with FSDP2 (fully_shard) or DeepSpeed"
        )
    return value


class ZeroSpec(ConfigPart):
    """How to shard the optimizer state."""

    stage: Annotated[Literal[1], BeforeValidator(_first_stage)] = 1
    """ZeRO stage; torch's ``ZeroRedundancyOptimizer`` does stage 1. For 2 and 3 see FSDP2 and DeepSpeed."""
    bucket_view: Switch = True
    """Keep the parameters of a rank in one flat buffer, so that a step sends few large messages."""


class ResumeSpec(ConfigPart):
    """What ``optimizer.load_state_dict``, and so a trainer that resumes, does about a save that does not match."""

    missing: Literal["error", "init"] = "error"
    """Parameters without saved state, such as unfrozen ones: ``init`` starts them afresh."""
    unexpected: Literal["error", "ignore"] = "error"
    """Saved state that the optimizer has no use for, such as that of frozen parameters: ``ignore`` leaves it out."""


def _switch_or_options(value: object) -> str:
    return "-options" if isinstance(value, (Mapping, ZeroSpec)) else "-switch"


Zero = Annotated[
    Annotated[Switch, Tag("-switch")] | Annotated[ZeroSpec, Tag("-options")], Discriminator(_switch_or_options)
]
"""``true``, ``false`` or a mapping of options; the hyphens keep pydantic's tags out of the paths in messages."""


class Spec(ConfigPart):
    """The canonical config: a frozen value made of plain data.

    >>> spec = Spec.of({"optimizer": {"type": "adamw", "lr": "1e-3"}, "rules": [{"type": "no_decay"}]})
    >>> spec.optimizer.type, spec.rules[0].type, spec.implementation
    ('adamw', 'no_decay', 'auto')
    """

    optimizer: OptimizerSpec
    """The optimizer's type and its base options."""
    optimizers: Optimizers = Field(default_factory=dict)
    """More optimizers, by the names that rules route parameters to."""
    rules: tuple[RuleSpec, ...] = ()
    """The rules, in the order in which they apply."""
    zero: Zero = False
    """Shard the optimizer state over the ranks: ``true``, or a mapping of options."""
    implementation: Literal["auto", "fused", "foreach", "for-loop"] = "auto"
    """How the step is computed; ``auto`` takes the fastest that the optimizer and the tensors support."""
    strict: Switch = True
    """Whether a rule or pattern that touches no parameter is an error (else a warning)."""
    watch: Switch = True
    """Whether training warns once if a scheduler changes the ratios between the LRs of the groups, or if running
    statistics change that are kept."""

    resume: ResumeSpec = ResumeSpec()
    """What resuming does about a save that does not match."""

    @property
    def sharding(self) -> ZeroSpec | None:
        """How to shard the optimizer state; None where every rank keeps all of it."""
        if isinstance(self.zero, ZeroSpec):
            return self.zero
        return ZeroSpec() if self.zero else None

    @classmethod
    def of(cls, config: Mapping[str, Any], path: str = "") -> Spec:
        """Return the spec of a mapping in our dialect.

        Args:
            config: The mapping; it is copied.
            path: Its path in a larger config, for messages.

        Raises:
            ConfigError: An unknown key or a wrong value, with its path.
        """
        if not isinstance(config, Mapping):
            raise ConfigError(f"must be a mapping, not {shown(config)}", path)
        data = plain(config, path)
        refuse_excess(data, path)
        spec: Spec = validated(cls, data, path)
        return spec

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON data that :meth:`of` reads again."""
        found = self.model_dump(mode="json")
        if not self.optimizers:
            del found["optimizers"]  # as a config without it was written by older releases
        if self.resume == ResumeSpec():
            del found["resume"]  # which older releases do not know
        return found
