"""Optimizers with one fault each; their docstrings say which. Importing this file registers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import field_validator

from optimbuild import optimizer
from optimbuild.registry.optimizer_type import Options, State
from optimbuild.values import NonNegative


class LrOptions(Options):
    """The option that all of them have."""

    lr: NonNegative = 0.01
    """Learning rate, at least 0."""


@optimizer("no_fault", options=LrOptions, implementations=(), state=lambda _: State(copies=1))
class NoFault(torch.optim.Optimizer):
    """Steps along the sign of the momentum."""

    def __init__(self, params: Any, lr: float = 0.01, **more: Any) -> None:
        super().__init__(params, {"lr": lr, **more})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for position, param in enumerate(group["params"]):
                if param.grad is not None:
                    param.sub_(self.update(param, group, position))
        return loss

    def average(self, param: torch.Tensor) -> torch.Tensor:
        state = self.state[param]
        if "average" not in state:
            state["average"] = torch.zeros_like(param)
        return state["average"].lerp_(param.grad, 0.1)

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        return group["lr"] * self.average(param).sign()


@optimizer("positions", options=LrOptions)
class Positions(NoFault):
    """Keeps in the state of a parameter its position in the group."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        average = self.average(param)
        weight = 1.0 / (1 + self.state[param].setdefault("position", position))
        return group["lr"] * (1.0 / (1 + position)) * average.sign() * weight


@optimizer("counts_on_itself", options=LrOptions)
class CountsOnItself(NoFault):
    """Counts steps outside of its state."""

    count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        return super().step(closure)

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        return super().update(param, group, position) / self.count


@optimizer("ignores_groups", options=LrOptions)
class IgnoresGroups(NoFault):
    """Takes the LR of the constructor for all groups."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        return super().update(param, self.defaults, position)


@optimizer("keeps_its_first_lr", options=LrOptions)
class KeepsItsFirstLr(NoFault):
    """Reads the LR at the first step only."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        lr = self.state[param].setdefault("lr", group["lr"])
        return super().update(param, {"lr": lr}, position)


@optimizer("declares_too_little", options=LrOptions, state=lambda _: State(copies=0))
class DeclaresTooLittle(NoFault):
    """Declares no state, and keeps some."""


@optimizer("global_norm", options=LrOptions)
class GlobalNorm(NoFault):
    """Scales by the gradients of all parameters, of which a rank has only some."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        everything = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        return super().update(param, group, position) / torch.nn.utils.get_total_norm(everything)


@optimizer("needs_gradients", options=LrOptions)
class NeedsGradients(NoFault):
    """Goes on with the average where there is no gradient."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = torch.ones_like(param) if param.grad is None and closure is None else param.grad
        return super().step(closure)


@optimizer("ignores_closures", options=LrOptions)
class IgnoresClosures(NoFault):
    """Never calls a closure."""

    def step(self, closure: Any = None) -> Any:
        return super().step()


@optimizer("closure_without_gradients", options=LrOptions)
class ClosureWithoutGradients(NoFault):
    """Calls the closure where gradients are off."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        super().step()
        return loss


@optimizer("ascends", options=LrOptions)
class Ascends(NoFault):
    """Goes the wrong way."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        return -super().update(param, group, position)


class Count:
    """A number that torch.load refuses."""

    value = 0


@optimizer("unloadable", options=LrOptions)
class Unloadable(NoFault):
    """Keeps in its state an object of a class of its own."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        self.state[param].setdefault("count", Count())
        return super().update(param, group, position)


@optimizer("noisy", options=LrOptions)
class Noisy(NoFault):
    """Adds noise without a seed."""

    def update(self, param: torch.Tensor, group: Mapping[str, Any], position: int) -> torch.Tensor:
        return super().update(param, group, position) + 1e-4 * torch.randn_like(param)


@optimizer("scales_its_lr", options=LrOptions)
class ScalesItsLr(NoFault):
    """Writes another LR into its groups than it was given."""

    def __init__(self, params: Any, lr: float = 0.01) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            group["lr"] *= 0.5


class UndescribedOptions(Options):
    """Has an option without a docstring."""

    lr: NonNegative = 0.01


optimizer("undescribed_lr", NoFault, options=UndescribedOptions)


class PercentOptions(Options):
    """Has an option that changes each time that it is read."""

    lr: NonNegative = 0.01
    """Learning rate, in percent."""

    @field_validator("lr")
    @classmethod
    def _percent(cls, value: float) -> float:
        return value / 2


optimizer("percent_lr", NoFault, options=PercentOptions)
