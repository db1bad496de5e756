"""Train a small vision transformer on scikit-learn's handwritten digits, its optimizer built from a config.

Run it with: python examples/digits.py configs/digits_vit.yaml
It prints the plan first and the test accuracy last.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification

from optimbuild import build_optimizer

SIDE = 8
"""Height and width of an image, in pixels."""


@dataclass(frozen=True)
class Split:
    """Images of shape (count, 1, 8, 8) from -1 to 1, and the digit that each one shows."""

    images: Tensor
    digits: Tensor

    def __len__(self) -> int:
        return len(self.digits)


def digits() -> tuple[Split, Split]:
    """Return the training and the test images; always the same ones."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, SIDE, SIDE) / 8 - 1
    labels = torch.tensor(labels)
    train, test = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return Split(images[train], labels[train]), Split(images[test], labels[test])


def vision_transformer() -> nn.Module:
    """Return an untrained ViT with 16 patches an image, made from a config without a download."""
    config = ViTConfig(
        image_size=SIDE,
        patch_size=2,
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        num_labels=10,
        initializer_range=0.1,
    )
    model: nn.Module = ViTForImageClassification(config)
    return model


def batches(split: Split, size: int, shuffle: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in random order, with the digits."""
    for chosen in torch.randperm(len(split), generator=shuffle).split(size):
        yield split.images[chosen], split.digits[chosen]


def schedule(optimizer: torch.optim.Optimizer, epochs: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return two epochs of warm-up and a cosine down to zero, by epoch; every group keeps its share of the LR."""

    def factor(epoch: int) -> float:
        return min((epoch + 1) / 2, (1 + math.cos(math.pi * epoch / epochs)) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, split: Split, batch_size: int, shuffle: torch.Generator
) -> None:
    """Train on every image once."""
    model.train()
    for images, labels in batches(split, batch_size, shuffle):
        optimizer.zero_grad()
        functional.cross_entropy(model(images).logits, labels).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Return the share of the images that the model reads rightly."""
    model.eval()
    return (model(split.images).logits.argmax(dim=1) == split.digits).float().mean().item()


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="an optimizer config, such as configs/digits_vit.yaml")
    parser.add_argument("--epochs", type=int, default=20, help="how often every image is seen (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="images a step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same run (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Print the plan, train, print the test accuracy."""
    args = arguments()
    torch.set_num_threads(1)  # the fastest for a model this small, and the same sums on every machine
    torch.manual_seed(args.seed)
    model = vision_transformer()
    optimizer = build_optimizer(args.config, model)
    print(optimizer.plan)

    train, test = digits()
    shuffle = torch.Generator().manual_seed(args.seed)
    learning_rate = schedule(optimizer, args.epochs)
    for _ in track(range(args.epochs), description="Training", console=Console(stderr=True)):
        train_epoch(model, optimizer, train, args.batch_size, shuffle)
        learning_rate.step()
    print(f"test accuracy: {accuracy(model, test):.4f}")


if __name__ == "__main__":
    main()
