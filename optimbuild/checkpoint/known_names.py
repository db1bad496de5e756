"""The names of an optimizer's model: what a saved name means there, and the model's own order."""

from __future__ import annotations

from functools import cached_property

from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.model.names import WRAPPED


class KnownNames:
    """The names that the resuming optimizer and its plan know.

    Args:
        named: That optimizer.
    """

    def __init__(self, named: NamedOptimizer) -> None:
        self._params = named.params
        self._plan = named.plan

    @cached_property
    def frozen(self) -> frozenset[str]:
        """The parameters that the plan freezes, and that are not in the optimizer."""
        return frozenset() if self._plan is None else frozenset(self._plan.frozen) - self._params.keys()

    @cached_property
    def orders(self) -> list[list[str]]:
        """The names in the model's own order: of all parameters, of the trainable ones, of those in the optimizer."""
        if self._plan is None:
            return []
        params = self._plan.inventory.params
        trainable = [param.name for param in params if param.trainable]
        return [[p.name for p in params], trainable, [p.name for p in params if p.name in self._params]]

    @cached_property
    def _known(self) -> set[str]:
        planned = () if self._plan is None else self._plan.inventory.names
        return {*self._params, *planned}

    @cached_property
    def _aliases(self) -> dict[str, str]:
        params = () if self._plan is None else self._plan.inventory.params
        return {alias: param.name for param in params for alias in param.aliases}

    def canonical(self, name: str) -> str:
        """Return the name without what DDP, FSDP1, torch.compile and checkpoint wrappers put into it."""
        if name in self._params or name in self._known:
            return name
        short = ".".join([part for part in name.split(".") if part not in WRAPPED])
        while short not in self._known and short not in self._aliases and short.startswith("module."):
            short = short.removeprefix("module.")
        short = self._aliases.get(short, short)
        return short if short in self._known else name

    def in_model_order(self, count: int) -> list[str] | None:
        """Return the names of the model's parameters in its own order, where this many were saved."""
        return next((order for order in self.orders if len(order) == count), None)
