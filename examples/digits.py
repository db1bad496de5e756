"""Train a small vision transformer on scikit-learn's handwritten digits, its optimizer built from a config.

Run it with: python examples/digits.py configs/digits_vit.yaml
It prints the plan first and the test accuracy last.

On several processes, which share each batch, and with `zero` the optimizer state as well:
torchrun --nproc-per-node 2 examples/digits.py configs/digits_vit_zero.yaml --checkpoint run
With --checkpoint it saves after every epoch and goes on from there, on any number of processes.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from transformers import ViTConfig, ViTForImageClassification

from optimbuild import build_optimizer, checkpoint

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


@dataclass(frozen=True)
class Ranks:
    """This process among those that torchrun started; alone without it."""

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls) -> Ranks:
        """Join the other processes, if there are any."""
        if "RANK" not in os.environ:
            return cls()
        dist.init_process_group("gloo")
        return cls(dist.get_rank(), dist.get_world_size())


def save(directory: Path, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
    """Save after an epoch, every rank its part of the optimizer state; the weights last, as a sign of completeness."""
    place = directory / f"epoch-{epoch:03}"
    checkpoint.save(optimizer, place / "optimizer")
    if ranks.rank == 0:
        torch.save(model.state_dict(), place / "model.part")
        (place / "model.part").replace(place / "model.pt")


def resume(directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest complete save, if there is one, and return the number of epochs that it has seen."""
    complete = sorted(directory.glob("epoch-*/model.pt"))
    if not complete:
        return 0
    place = complete[-1].parent
    model.load_state_dict(torch.load(complete[-1], weights_only=True))
    checkpoint.load(optimizer, place / "optimizer")
    return int(place.name.removeprefix("epoch-"))


def batches(split: Split, size: int, shuffle: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in random order, with the digits."""
    for chosen in torch.randperm(len(split), generator=shuffle).split(size):
        yield split.images[chosen], split.digits[chosen]


def schedule(optimizer: torch.optim.Optimizer, epochs: int, start: int = 0) -> torch.optim.lr_scheduler.LRScheduler:
    """Return two epochs of warm-up and a cosine down to zero, by epoch; every group keeps its share of the LR."""

    def factor(epoch: int) -> float:
        return min((epoch + 1) / 2, (1 + math.cos(math.pi * epoch / epochs)) / 2)

    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # as planned; where torch's schedulers start from in the middle of a run
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=start - 1)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    split: Split,
    batch_size: int,
    shuffle: torch.Generator,
    ranks: Ranks,
) -> None:
    """Train on every image once; each rank sees its share of each batch."""
    model.train()
    for images, labels in batches(split, batch_size, shuffle):
        optimizer.zero_grad()
        mine, my_labels = images.tensor_split(ranks.size)[ranks.rank], labels.tensor_split(ranks.size)[ranks.rank]
        loss = functional.cross_entropy(model(mine).logits, my_labels, reduction="sum") / len(images)
        (loss * ranks.size).backward()  # DistributedDataParallel divides by the number of ranks
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
    parser.add_argument("--checkpoint", type=Path, help="a directory: save there every epoch, and go on from there")
    parser.add_argument("--stop-after", type=int, help="end early, after this many epochs of all")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same run (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Print the plan, train, print the test accuracy."""
    args = arguments()
    torch.set_num_threads(1)  # the fastest for a model this small, and the same sums on every machine
    torch.manual_seed(args.seed)
    ranks = Ranks.joined()
    model = vision_transformer()
    trained = DistributedDataParallel(model) if ranks.size > 1 else model
    optimizer = build_optimizer(args.config, trained)
    if ranks.rank == 0:
        print(optimizer.plan)

    train, test = digits()
    shuffle = torch.Generator().manual_seed(args.seed)
    start = resume(args.checkpoint, model, optimizer) if args.checkpoint else 0
    learning_rate = schedule(optimizer, args.epochs, start)
    for _ in range(start):
        torch.randperm(len(train), generator=shuffle)  # the order of epochs that were seen already
    end = min(args.epochs, args.stop_after or args.epochs)
    quiet = Console(stderr=True, quiet=ranks.rank > 0)
    for epoch in track(range(start, end), description="Training", console=quiet):
        train_epoch(trained, optimizer, train, args.batch_size, shuffle, ranks)
        learning_rate.step()
        if args.checkpoint:
            save(args.checkpoint, epoch + 1, model, optimizer, ranks)
    if ranks.rank == 0:
        print(f"test accuracy: {accuracy(model, test):.4f}")
    if ranks.size > 1 or dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
