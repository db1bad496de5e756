"""Train a small vision transformer on handwritten digits in Hugging Face's Trainer, its optimizer built from a config.

Run it with: python examples/digits_trainer.py configs/digits_vit.yaml
It prints the plan first and the test accuracy last. With --resume it goes on from a checkpoint, such as
digits_trainer/checkpoint-45.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from optimbuild.integrations.transformers import LrCallback, OptimBuild, PlanCallback

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.digits import Split, digits, vision_transformer


class DigitsViT(nn.Module):
    """The ViT of the other examples, as a Trainer asks it, which saves a plain module under the names that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = vision_transformer()

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss and the logits."""
        found = self.vit(image, labels=labels)
        return {"loss": found.loss, "logits": found.logits}


def samples(split: Split) -> list[dict[str, Any]]:
    """Return images and digits under the names that the model has for them."""
    pairs = zip(split.images, split.digits, strict=True)
    return [{"image": image, "labels": int(digit)} for image, digit in pairs]


def accuracy(predictions: Any) -> dict[str, float]:
    """Return the share of the images that the model reads rightly."""
    return {"accuracy": float((predictions.predictions.argmax(axis=1) == predictions.label_ids).mean())}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="an optimizer config, such as configs/digits_vit.yaml")
    parser.add_argument("--epochs", type=int, default=10, help="how often every image is seen (default: %(default)s)")
    parser.add_argument("--output", default="digits_trainer", help="where checkpoints go (default: %(default)s)")
    parser.add_argument("--resume", help="a checkpoint to go on from")
    return parser.parse_args(given)


def train(args: argparse.Namespace) -> Trainer:
    """Train, and return the trainer."""
    settings = TrainingArguments(
        output_dir=args.output,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=32,
        lr_scheduler_type="cosine",
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to="none",
        use_cpu=True,
    )
    images, test = digits()
    trainer = Trainer(
        model_init=DigitsViT,
        args=settings,
        train_dataset=samples(images),
        eval_dataset=samples(test),
        compute_metrics=accuracy,
        optimizer_cls_and_kwargs=(OptimBuild, {"config": args.config, "args": settings}),
        callbacks=[PlanCallback(), LrCallback()],
    )
    trainer.train(resume_from_checkpoint=args.resume)
    return trainer


def main() -> None:
    """Train, and print the test accuracy."""
    torch.set_num_threads(1)  # the fastest for a model this small
    print(f"test accuracy: {train(arguments()).evaluate()['eval_accuracy']:.4f}")


if __name__ == "__main__":
    main()
