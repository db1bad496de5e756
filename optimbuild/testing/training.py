"""Trainings of a few steps, by which optimizers are compared."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from optimbuild.build.build import build_optimizer
from optimbuild.plan.state_probe import needs_closure
from optimbuild.registry import OPTIMIZERS
from optimbuild.registry.optimizer_type import OptimizerType

Task = Callable[[], nn.Module]
"""What makes a module that returns its loss when it is called; always with the same weights."""
Rules = Sequence[Mapping[str, Any]]
Weights = dict[str, torch.Tensor]


@dataclass
class Training:
    """A module and its optimizer.

    Args:
        module: Returns its loss when it is called.
        optimizer: Its optimizer.
        by_closure: Whether a step needs a function that computes the loss, as that of LBFGS does.
        losses: The loss before each step that was taken.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    by_closure: bool = False
    losses: list[float] = field(default_factory=list)

    def train(self, steps: int = 1, without: Sequence[str] = ()) -> Training:
        """Take steps, and return the training itself.

        Args:
            steps: How many.
            without: The names of parameters that have no gradient.
        """
        for _ in range(steps):
            loss = self.backward(without)
            self.losses.append(float(loss))
            closure = (lambda: self.backward(without),) if self.by_closure else ()
            self.optimizer.step(*closure)
        return self

    def backward(self, without: Sequence[str] = ()) -> torch.Tensor:
        """Compute the loss and fresh gradients."""
        with torch.enable_grad():
            self.module.zero_grad()
            loss: torch.Tensor = self.module()
            loss.backward()  # type: ignore[no-untyped-call]
        for name in without:
            self.module.get_parameter(name).grad = None
        return loss.detach()

    @property
    def weights(self) -> Weights:
        """Copies of the parameters, by name."""
        return {name: tensor.detach().clone() for name, tensor in self.module.named_parameters()}


@dataclass(frozen=True)
class OptimizerCase:
    """An optimizer with options, and what it trains.

    Args:
        kind: The registered optimizer.
        options: Its options.
        task: What it trains.
    """

    kind: OptimizerType
    options: Mapping[str, Any]
    task: Task

    def start(self, rules: Rules = (), weights: Weights | None = None, **more: Any) -> Training:
        """Return a training before its first step, with an optimizer that ``build_optimizer`` built.

        Args:
            rules: Rules for the config.
            weights: What the parameters are, instead of the task's own.
            more: Other keys of the config.
        """
        module = self.module(weights)
        config = {"optimizer": {"type": self.kind.name, **self.options}, "rules": list(rules), **more}
        return Training(module, build_optimizer(config, module), self.by_closure)

    def start_plain(self, weights: Weights | None = None) -> Training:
        """Return a training with an optimizer that nobody but its own class made."""
        module = self.module(weights)
        return Training(module, self.kind(list(module.parameters()), **self.options), self.by_closure)

    def module(self, weights: Weights | None = None) -> nn.Module:
        """Return the module, always with the same weights unless others are given."""
        module = self.task()
        if weights is not None:
            with torch.no_grad():
                for name, tensor in module.named_parameters():
                    tensor.copy_(weights[name])
        return module

    @property
    def by_closure(self) -> bool:
        """Whether a step needs a function that computes the loss."""
        dimensions = min([tensor.ndim for tensor in self.task().parameters()], default=2)
        return needs_closure(self.kind.load(), self.kind.arguments(self.kind.complete(self.options)), dimensions)

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return [name for name, _ in self.task().named_parameters()]


def differing(one: Weights, other: Weights) -> list[str]:
    """Return the names of the parameters that differ in any bit."""
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def differing_under_zero(case: OptimizerCase, steps: int) -> list[str]:
    """Return the names of the parameters that ZeRO trains otherwise than one process does. Each rank calls it."""
    register_here(case.kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, sharded = case.start().train(steps), case.start(zero=True).train(steps)
    return differing(plain.weights, sharded.weights)


def for_other_process(case: OptimizerCase) -> OptimizerCase:
    """Return a case that pickle can carry, which needs neither what its type keeps nor the size of the state."""
    return replace(case, kind=replace(case.kind, state=None))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: for tensors of a few numbers more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def register_here(kind: OptimizerType) -> None:
    """Register an optimizer that another process has registered, unless it is known here."""
    if kind.name not in OPTIMIZERS:
        OPTIMIZERS.register_module(name=kind.name, module=kind, force=True)
