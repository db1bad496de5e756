"""The names of an optimizer's model: what a saved name means there, and the model's own order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import torch

from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.checkpoint.state_entries import Entries, expected_state
from optimbuild.checkpoint.told import called
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown
from optimbuild.model.names import WRAPPED

Rename = Mapping[str, str] | Callable[[str], str] | None

RECIPE = (
    "Put a list `param_names` into each of its groups, or pass the names to load_optimizer_state: "
    "names=[[...], [...]], a list for each saved group; or the function that made the groups: names=lambda model: "
    "[[...], [...]]. optimbuild.checkpoint.names_of(optimizer.param_groups, model) returns them for a live optimizer, "
    "to be saved with the next checkpoint."
)
"""What gives the names of saved groups that have none, for messages."""


class KnownNames:
    """The names that the resuming optimizer and its plan know.

    Args:
        named: That optimizer.
        rename: What saved names are called now: new prefixes by old ones, or a function of a name.
        recipe: What gives names to saved groups that have none, for messages.
    """

    def __init__(self, named: NamedOptimizer, rename: Rename = None, recipe: str = RECIPE) -> None:
        if not (rename is None or callable(rename) or isinstance(rename, Mapping)):
            raise CheckpointError(f"rename must be a mapping of prefixes or a function, not {shown(rename)}")
        self._named = named
        self._params = named.params
        self.plan = named.plan
        self.model = getattr(named.optimizer, "model", None)
        self.recipe = recipe
        self._rename = rename
        self._used: set[str] = set()
        self._asked = False

    @cached_property
    def frozen(self) -> frozenset[str]:
        """The parameters that the plan freezes, and that are not in the optimizer."""
        return frozenset() if self.plan is None else frozenset(self.plan.frozen) - self._params.keys()

    @cached_property
    def orders(self) -> list[list[str]]:
        """The names in the model's own order: of all parameters, of the trainable ones, of those in the optimizer."""
        if self.plan is None:
            return []
        params = self.plan.inventory.params
        trainable = [param.name for param in params if param.trainable]
        return [[p.name for p in params], trainable, [p.name for p in params if p.name in self._params]]

    @cached_property
    def _known(self) -> set[str]:
        planned = () if self.plan is None else self.plan.inventory.names
        return {*self._params, *planned}

    @cached_property
    def _aliases(self) -> dict[str, str]:
        params = () if self.plan is None else self.plan.inventory.params
        return {alias: param.name for param in params for alias in param.aliases}

    def canonical(self, name: str) -> str:
        """Return the name without what DDP, FSDP1, torch.compile and checkpoint wrappers put into it."""
        if self._rename is not None:
            name = self._renamed(name)
        if name in self._params or name in self._known:
            return name
        short = ".".join([part for part in name.split(".") if part not in WRAPPED])
        while short not in self._known and short not in self._aliases and short.startswith("module."):
            short = short.removeprefix("module.")
        short = self._aliases.get(short, short)
        return short if short in self._known else name

    def of_saved(self, saved: Iterable[str]) -> dict[str, str]:
        """Return what saved names are called here.

        Raises:
            CheckpointError: Two of them stand for the same parameter.
        """
        found: dict[str, str] = {}
        sources: dict[str, str] = {}
        for name in saved:
            here = found[name] = self.canonical(name)
            other = sources.setdefault(here, name)
            if other != name:
                raise CheckpointError(f"the saved names {other!r} and {name!r} both stand for {here!r}")
        return found

    def renames(self, saved: Iterable[str]) -> dict[str, str]:
        """Return what ``rename`` alone makes of saved names, those left out that stay as they are."""
        if self._rename is None:
            return {}
        return {name: new for name in saved if (new := self._renamed(name)) != name}

    def _renamed(self, name: str) -> str:
        """Return what a saved name is called now; of several prefixes the longest counts."""
        self._asked = True
        if callable(self._rename):
            renamed = called("rename", self._rename, name)
            if not isinstance(renamed, str):
                raise CheckpointError(f"rename must return a name, and returned {shown(renamed)} for {shown(name)}")
            return renamed
        prefixes = [old for old in self._rename or () if name.startswith(old)]
        if not prefixes:
            return name
        old = max(prefixes, key=len)
        self._used.add(old)
        return f"{(self._rename or {})[old]}{name[len(old) :]}"

    def refuse_idle_renames(self, saved: SavedState) -> None:
        """Make sure that ``rename`` was of use: saved names were read, and every prefix was found in one.

        Raises:
            CheckpointError: It was not.
        """
        if self._rename and not self._asked:
            raise CheckpointError(f"rename: nothing in this state is called by a name (layout: {saved.layout})")
        idle = [old for old in self._rename if old not in self._used] if isinstance(self._rename, Mapping) else []
        if idle:
            raise CheckpointError(
                f"rename: no saved name starts with {listing([shown(old) for old in idle])}. The saved names are: "
                f"{listing(list(saved.groups), 5)}"
            )

    def param(self, name: str) -> torch.Tensor:
        """Return one of the optimizer's parameters."""
        return self._params[name]

    def kept_entries(self, name: str) -> Entries | None:
        """Return what the optimizer keeps for a parameter; None where it is not in the optimizer, or nobody knows."""
        if name not in self._params:
            return None
        group = self._named.optimizer.param_groups[self._named.group_of[name]]
        return expected_state(self._named.stepper(group), group, self._params[name])

    def in_model_order(self, count: int) -> list[str] | None:
        """Return the names of the model's parameters in its own order, where this many were saved."""
        return next((order for order in self.orders if len(order) == count), None)
