"""What an entry of a lock file is about: a config, a model, and what else decides their plan."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from optimbuild.messages import printable
from optimbuild.model.by_name import HF


@dataclass(frozen=True)
class Target:
    """A config, a model, and what else decides their plan, as the command line takes them.

    Args:
        config: The config file, relative to the current directory, with ``/``.
        model: As ``--model`` names it; empty for a config in Python that builds its own.
        overrides: ``KEY=VALUE``.
        optimizer: The one optimizer of several that is meant; empty for all.
        world_size: The number of ranks; None for the default.

    >>> print(Target("vit.yaml", "vit.json", ("optimizer.lr=2e-4",), world_size=4))
    vit.yaml -m vit.json --set optimizer.lr=2e-4 --world-size 4
    """

    config: str
    model: str = ""
    overrides: tuple[str, ...] = ()
    optimizer: str = ""
    world_size: int | None = None

    def __str__(self) -> str:
        """Return the arguments of the command line, to be copied behind ``optimbuild plan``."""
        words = [self.config, *(["-m", self.model] if self.model else [])]
        words += [word for override in self.overrides for word in ("--set", override)]
        words += ["--optimizer", self.optimizer] if self.optimizer else []
        words += ["--world-size", str(self.world_size)] if self.world_size is not None else []
        return printable(shlex.join(words))

    @property
    def outside(self) -> str:
        """A path of it that only this machine has; empty if there is none."""
        paths = [self.config, self.model.removeprefix(HF)]
        return next(filter(os.path.isabs, paths), "")


def target_of(
    config: str, model: str | None, overrides: Sequence[str] | None, optimizer: str | None, world_size: int | None
) -> Target:
    """Return what arguments of the command line are about; the same for each way to write the same files.

    Args:
        config: A config file.
        model: As ``--model`` names it.
        overrides: ``KEY=VALUE``.
        optimizer: The name of one optimizer.
        world_size: The number of ranks.

    >>> target_of("./configs/../vit.yaml", "models:build", None, None, None)
    Target(config='vit.yaml', model='models:build', overrides=(), optimizer='', world_size=None)
    """
    return Target(_portable(config), _model(model or ""), tuple(overrides or ()), optimizer or "", world_size)


def _model(model: str) -> str:
    if model.startswith(HF):
        return HF + _portable(model.removeprefix(HF))
    return _portable(model) if model.lower().endswith((".json", ".py")) else model


def _portable(path: str) -> str:
    """Return a path relative to the current directory, if it is below it, with ``/``."""
    if os.path.isabs(path):
        ways = os.path.normpath(path), os.path.realpath(path)  # by which links may lead to the current directory
        path = next((os.path.relpath(way) for way in ways if PurePath(way).is_relative_to(os.getcwd())), path)
    return PurePath(os.path.normpath(path)).as_posix() if path else path
