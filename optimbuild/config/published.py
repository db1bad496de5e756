"""What a constructor of a runner's config is given, and what the reading of one makes of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from optimbuild.config.spec import OptimizerSpec
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import fields, join, validated

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Published:
    """What a constructor of a runner's config is given.

    Args:
        name: The constructor's name.
        optimizer: The config of the optimizer, by a name that our registry knows.
        kind: The registered optimizer.
        paramwise_cfg: The keys that the constructor reads; None where the config has none.
        scope: The package whose constructor is meant, such as ``mmseg``; empty where nothing says it.
        wrapper: The keys of the wrapper's config.
        world_size: The number of ranks.
        path: The place of the wrapper's config, for messages.
        where: The place of the optimizer's config, for messages.
        named_at: The place that names the constructor, for messages.
    """

    name: str
    optimizer: OptimizerSpec
    kind: OptimizerType
    paramwise_cfg: Mapping[str, Any] | None = None
    scope: str = ""
    wrapper: frozenset[str] = frozenset()
    world_size: int = 1
    path: str = "optim_wrapper"
    where: str = "optim_wrapper.optimizer"
    named_at: str = "optim_wrapper.constructor"

    @property
    def cfg(self) -> str:
        """The path of ``paramwise_cfg``."""
        return join(self.path, "paramwise_cfg")

    def read(self, schema: type[T]) -> T:
        """Return the keys of ``paramwise_cfg`` that a schema has, checked and coerced; see :meth:`ignored` for others.

        Raises:
            ConfigError: A key is missing or wrong, with its path.
        """
        given = {key: value for key, value in (self.paramwise_cfg or {}).items() if key in fields(schema)}
        found: T = validated(schema, given, self.cfg)
        return found

    def ignored(self, schema: type[BaseModel]) -> list[str]:
        """Return a warning about the keys of ``paramwise_cfg`` that a schema does not have; none where it has all."""
        idle = [key for key in self.paramwise_cfg or {} if key not in fields(schema)]
        return [f"{self.cfg}: {self.name} ignores {listing(idle)}, and so does the plan"] if idle else []

    def require_options(self, *names: str) -> None:
        """Raise a ConfigError unless the config gives the optimizer these options, which the constructor multiplies."""
        for name in names:
            if self.optimizer.options.get(name) is None:
                raise ConfigError(f"is required, because {self.name} computes with it", join(self.where, name))


@dataclass(frozen=True)
class Translation:
    """The reading of a constructor: the rules that give what it gives.

    Args:
        rules: The rules, as in our dialect.
        options: The optimizer's options; None leaves those of the config.
        warnings: What the user should know.
        paths: For options of the rules, such as ``rules[1].ratio``, the paths of the keys from which they are read, for
            messages; a mistake in another one is told of ``paramwise_cfg``, or of the constructor where there is none.
    """

    rules: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether the fields are of their types, which a plugin may get wrong."""
        rules, options, warnings, paths = map(_as_given, (self.rules, self.options, self.warnings, self.paths))
        return (
            isinstance(rules, (list, tuple))
            and isinstance(warnings, (list, tuple))
            and isinstance(paths, Mapping)
            and all(isinstance(rule, Mapping) for rule in rules)
            and all(isinstance(text, str) for text in (*warnings, *paths, *paths.values()))
            and (options is None or isinstance(options, Mapping))
        )


def _as_given(value: object) -> object:
    """Return a value of which nothing is known, whatever its type is declared to be."""
    return value


def number_of_ranks(given: int | None = None) -> int:
    """Return a number of ranks, by default that of this process's group; 1 where there is none.

    Torch is not imported for it.

    Raises:
        ConfigError: The given number is no whole number from 1.
    """
    if given is not None and (type(given) is not int or given < 1):
        raise ConfigError(f"must be a whole number from 1, not {shown(given)}", "world_size")
    if given is not None:
        return given
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 1
    return int(distributed.get_world_size())
