"""The names of an optimizer's model: what a saved name means there, and the model's own order."""

from __future__ import annotations

from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.model.names import WRAPPED


class KnownNames:
    """The names that the resuming optimizer and its plan know.

    Args:
        named: That optimizer.
    """

    def __init__(self, named: NamedOptimizer) -> None:
        self._known: set[str] = set(named.params)
        self._aliases: dict[str, str] = {}
        self.orders: list[list[str]] = []
        self.frozen: set[str] = set()
        if named.plan is not None:
            params = named.plan.inventory.params
            self.frozen = set(named.plan.frozen)
            self._known |= {param.name for param in params}
            self._aliases = {alias: param.name for param in params for alias in param.aliases}
            names = [param.name for param in params]
            trainable = [param.name for param in params if param.trainable]
            planned = [param.name for param in params if param.name in named.params]
            self.orders = [names, trainable, planned]

    def canonical(self, name: str) -> str:
        """Return the name without what DDP, FSDP1, torch.compile and checkpoint wrappers put into it."""
        if name in self._known:
            return name
        short = ".".join([part for part in name.split(".") if part not in WRAPPED])
        while short not in self._known and short not in self._aliases and short.startswith("module."):
            short = short.removeprefix("module.")
        short = self._aliases.get(short, short)
        return short if short in self._known else name

    def in_model_order(self, count: int) -> list[str] | None:
        """Return the names of the model's parameters in its own order, where this many were saved."""
        return next((order for order in self.orders if len(order) == count), None)
