"""Train a small vision transformer on handwritten digits in Lightning, its optimizer built from a config.

Run it with: python examples/digits_lightning.py configs/digits_vit.yaml
It prints the plan first and the test accuracy last. With --resume it goes on from a checkpoint, such as
digits_lightning/epoch=0.ckpt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from optimbuild import build_optimizer
from optimbuild.integrations.lightning import LrCallback, PlanCallback

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.digits import accuracy, digits, schedule, vision_transformer


class Digits(lightning.LightningModule):
    """The ViT of the other examples, as Lightning asks it."""

    def __init__(self, config: str, epochs: int) -> None:
        super().__init__()
        self.vit, self.config, self.epochs = vision_transformer(), config, epochs

    def training_step(self, batch: Any, index: int) -> torch.Tensor:  # noqa: ARG002  # Lightning's
        """Return the loss of a batch."""
        images, labels = batch
        loss: torch.Tensor = self.vit(images, labels=labels).loss
        return loss

    def configure_optimizers(self) -> Any:
        """Build the optimizer from the config, and a schedule by epoch."""
        optimizer = build_optimizer(self.config, self)
        return [optimizer], [schedule(optimizer, self.epochs)]

    def train_dataloader(self) -> Any:
        """Return the images in an order that depends on the epoch alone, also when a run resumes."""
        images, _ = digits()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.current_epoch))
        return DataLoader(TensorDataset(images.images[order], images.digits[order]), 32)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="an optimizer config, such as configs/digits_vit.yaml")
    parser.add_argument("--epochs", type=int, default=10, help="how often every image is seen (default: %(default)s)")
    parser.add_argument("--output", default="digits_lightning", help="where checkpoints go (default: %(default)s)")
    parser.add_argument("--resume", help="a checkpoint to go on from")
    return parser.parse_args(given)


def train(args: argparse.Namespace) -> lightning.Trainer:
    """Train, and return the trainer."""
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=args.epochs,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        logger=CSVLogger(args.output),
        callbacks=[
            ModelCheckpoint(args.output, "{epoch}", save_top_k=-1),
            PlanCallback(),
            LrCallback(),
            LearningRateMonitor("step"),
        ],
        enable_model_summary=False,
    )
    trainer.fit(Digits(args.config, args.epochs), ckpt_path=args.resume, weights_only=True if args.resume else None)
    return trainer


def main() -> None:
    """Train, and print the test accuracy."""
    torch.set_num_threads(1)  # the fastest for a model this small
    trainer = train(arguments())
    print(f"test accuracy: {accuracy(trainer.lightning_module.vit, digits()[1]):.4f}")


if __name__ == "__main__":
    main()
