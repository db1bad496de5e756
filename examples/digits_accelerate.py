"""Train a small vision transformer on handwritten digits in a loop with accelerate, its optimizer built from a config.

Run it with: python examples/digits_accelerate.py configs/digits_vit.yaml
It prints the plan first and the test accuracy last. With --resume it goes on from a checkpoint, such as
digits_accelerate/epoch-1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset

from optimbuild import build_optimizer, learning_rates, plan_of

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.digits import accuracy, digits, schedule, vision_transformer


class JsonLines(GeneralTracker):
    """A tracker that writes a line of JSON for each step."""

    name = "json"
    requires_logging_directory = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        """The file."""
        return self.path

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Keep nothing."""

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:  # noqa: ARG002  # accelerate's
        """Write a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps({'step': step, **values})}\n")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="an optimizer config, such as configs/digits_vit.yaml")
    parser.add_argument("--epochs", type=int, default=10, help="how often every image is seen (default: %(default)s)")
    parser.add_argument("--output", default="digits_accelerate", help="where checkpoints go (default: %(default)s)")
    parser.add_argument("--resume", help="a checkpoint to go on from")
    return parser.parse_args(given)


def train(args: argparse.Namespace) -> torch.nn.Module:
    """Train, and return the model."""
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=True, log_with=JsonLines(output / "log.jsonl"))
    accelerator.init_trackers("digits")
    set_seed(0)
    model = vision_transformer()
    optimizer = build_optimizer(args.config, model)
    images, _ = digits()
    loader = DataLoader(TensorDataset(images.images, images.digits), 32, shuffle=True)
    model, optimizer, loader, rates = accelerator.prepare(model, optimizer, loader, schedule(optimizer, args.epochs))
    accelerator.print(plan_of(optimizer))
    start = 0
    if args.resume:
        accelerator.load_state(args.resume)
        start = int(args.resume.rpartition("-")[2])
    for epoch in range(start, args.epochs):
        loader.set_epoch(epoch)  # its order depends on the epoch alone
        for pixels, labels in loader:
            optimizer.zero_grad()
            accelerator.backward(model(pixels, labels=labels).loss)
            optimizer.step()
        now = learning_rates(optimizer)
        accelerator.log({**now.scalars("lr"), **{f"lr/{name}": lr for name, lr in now.by_name.items()}}, step=epoch)
        rates.step()
        place = output / f"epoch-{epoch + 1}"
        accelerator.save_state(str(place))
        (place / "plan.json").write_text(plan_of(optimizer).to_json(), "utf-8")
    accelerator.end_training()
    trained: torch.nn.Module = accelerator.unwrap_model(model)
    return trained


def main() -> None:
    """Train, and print the test accuracy."""
    torch.set_num_threads(1)  # the fastest for a model this small
    print(f"test accuracy: {accuracy(train(arguments()), digits()[1]):.4f}")


if __name__ == "__main__":
    main()
