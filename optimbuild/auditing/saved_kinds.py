"""Which optimizer class wrote a saved group: the file seldom says, so its options do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optimbuild.auditing.settings import is_option
from optimbuild.checkpoint.group_options import IMPLEMENTATION
from optimbuild.errors import CheckpointError, OptimBuildError
from optimbuild.messages import listing
from optimbuild.plan.decision import MEMBER
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType

USUAL = (
    "adamw", "sgd", "torch.Adam", "muon", "torch.RMSprop", "torch.Adagrad", "torch.RAdam", "torch.NAdam",
    "torch.Adamax", "torch.Adadelta", "torch.Rprop", "torch.ASGD", "torch.Adafactor", "torch.LBFGS",
)  # fmt: skip
"""The classes that are tried, the commonest first."""

TELLING = "decoupled_weight_decay"
"""The option in which AdamW and Adam differ since torch 2.7."""


class SavedKinds:
    """Finds the class of saved groups.

    Args:
        told: The registered name of the class, as the user gave it; empty where the options shall tell.
        against: A plan that is compared with, whose classes are tried first.
    """

    def __init__(self, told: str, against: Plan | None) -> None:
        self._told = None if not told else find_optimizer(told)
        self._against = against
        self._guessed: dict[str, None] = {}

    def kind(self, entries: Mapping[str, Any], names: Sequence[str]) -> OptimizerType:
        """Return the registered type of what stepped a group.

        Args:
            entries: The saved group.
            names: Its parameters.

        Raises:
            CheckpointError: No class that is known has such options.
        """
        if self._told is not None:
            return self._told
        if isinstance(member := entries.get(MEMBER), str):
            return find_optimizer(member)
        planned = [self._against[name].optimizer for name in names[:1]] if self._against is not None else []
        keys = {key for key in entries if is_option(key)} - IMPLEMENTATION
        candidates = dict.fromkeys([name for name in [*planned, *USUAL] if name is not None])
        scores = {name: score for name in candidates if (score := _score(name, keys, entries.get(TELLING))) is not None}
        if not scores:
            raise CheckpointError(
                f"no optimizer has the options {listing(sorted(keys))}. Say which one it was: --type NAME"
            )
        best = min(scores, key=lambda name: scores[name])
        if best not in planned:
            self._guessed[best] = None
        return find_optimizer(best)

    def stepper(self, entries: Mapping[str, Any], names: Sequence[str]) -> Optimizer:
        """Return an optimizer of the class that stepped a group, without data."""
        made = _empty(self.kind(entries, names).name)
        if made is None:
            raise CheckpointError(f"{self.kind(entries, names).name} cannot be constructed to compare its options")
        return made

    def told(self) -> str:
        """Return in words what was guessed."""
        return f", taken for {listing(list(self._guessed))} by its options" if self._guessed else ""


def _score(name: str, keys: set[str], telling: object) -> int | None:
    """Return in how many options a class differs from what was saved; None where it is not the one."""
    made = _empty(name)
    if made is None:
        return None
    own = made.defaults.keys() - IMPLEMENTATION
    if not own & keys or (telling is not None and made.defaults.get(TELLING, telling) != telling):
        return None
    late = {TELLING} - keys  # which older releases do not save
    return len(own - keys - late) + len(keys - own)


@cache
def _empty(name: str) -> Optimizer | None:
    """Return an optimizer of one matrix without data; None where its class is not here, or takes none."""
    try:
        cls: Any = find_optimizer(name).load()
    except OptimBuildError:
        return None
    for options in ({"lr": 1e-3}, {}):
        try:
            made: Optimizer = cls([nn.Parameter(torch.empty(2, 2, device="meta"))], **options)
            return made
        except Exception:  # noqa: BLE001, S112  # a foreign class may raise anything
            continue
    return None
