"""Small trainings with which optimizers are tried: modules that return their loss when they are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Regression(nn.Module):
    """Two layers and a norm, in which there are matrices, vectors and a number, fitted to random targets."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        with _same_numbers():
            self.first = nn.Linear(6, 9)
            self.norm = nn.LayerNorm(9)
            self.second = nn.Linear(9, 3)
            self.temperature = nn.Parameter(torch.tensor(1.0))
            self.register_buffer("inputs", torch.randn(16, 6))
            self.register_buffer("targets", torch.randn(16, 3))

    def forward(self) -> torch.Tensor:
        """Return the mean squared error over all samples."""
        out = self.second(torch.tanh(self.norm(self.first(self.inputs)))) * self.temperature
        return nn.functional.mse_loss(out, self.targets)


class Matrices(nn.Module):
    """Three layers without bias, for optimizers that take matrices only."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        with _same_numbers():
            self.layers = nn.ModuleList([nn.Linear(9, 9, bias=False) for _ in range(3)])
            self.register_buffer("inputs", torch.randn(16, 9))
            self.register_buffer("targets", torch.randn(16, 9))

    def forward(self) -> torch.Tensor:
        """Return the mean squared error over all samples."""
        out = self.inputs
        for layer in self.layers:
            out = torch.tanh(layer(out))
        return nn.functional.mse_loss(out, self.targets)


class SparseEmbeddings(nn.Module):
    """Two embeddings with sparse gradients, whose sums are fitted to random targets."""

    targets: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        with _same_numbers():
            self.words = nn.Embedding(12, 4, sparse=True)
            self.places = nn.Embedding(8, 4, sparse=True)
            self.register_buffer("targets", torch.randn(8, 4))

    def forward(self) -> torch.Tensor:
        """Return the mean squared error over all samples."""
        places = torch.arange(8)
        return nn.functional.mse_loss(self.words(places + 2) + self.places(places), self.targets)


@contextmanager
def _same_numbers() -> Iterator[None]:
    """Make every model of a class from the same random numbers, and leave the caller's generator as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
