"""Train a small vision transformer on handwritten digits in MMEngine's runner, its optimizer built from a plan.

Run it with: python examples/digits_mmengine.py configs/digits_vit_mmengine.py
It logs the plan first and prints the test accuracy last. On two processes, with sharded optimizer state:
torchrun --nproc-per-node 2 examples/digits_mmengine.py configs/digits_vit_mmengine.py --launcher pytorch
--cfg-options optim_wrapper.paramwise_cfg.zero=True train_dataloader.batch_size=32
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))  # the config names what it needs as examples.digits_mmengine.…

from examples.digits import SIDE, digits, vision_transformer


class DigitsViT(BaseModel):
    """The ViT of the other example, as MMEngine's runner asks it."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = vision_transformer()

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Return the loss, one prediction a digit, or logits."""
        logits = self.vit(inputs).logits
        if mode == "loss":
            return {"loss": functional.cross_entropy(logits, labels)}
        if mode == "predict":
            return [{"right": bool(right)} for right in logits.argmax(dim=1) == labels]
        return logits


class Digits(Dataset[dict[str, Any]]):
    """The training or the test images; those for training are moved by at most one pixel."""

    def __init__(self, train: bool) -> None:
        self.train = train
        self.split = digits()[0 if train else 1]
        self.metainfo = {"classes": tuple("0123456789")}

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.split.images[index]
        if self.train:
            down, right = torch.randint(3, (2,)).tolist()
            image = functional.pad(image, (1, 1, 1, 1), value=-1.0)[:, down : down + SIDE, right : right + SIDE]
        return {"inputs": image, "labels": self.split.digits[index]}


class Accuracy(BaseMetric):
    """The share of the images that the model reads rightly."""

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:  # noqa: ARG002  # MMEngine's
        """Keep the answers of a batch."""
        self.results += [sample["right"] for sample in data_samples]

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """Return the metric by its name."""
        return {"accuracy": sum(results) / len(results)}


def arguments() -> argparse.Namespace:
    """Return what the command line asks for, with the options that OpenMMLab's own scripts have."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a config of MMEngine's runner, such as configs/digits_vit_mmengine.py")
    parser.add_argument("--work-dir", help="where to write (default: that of the config)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the work directory")
    parser.add_argument("--launcher", choices=["none", "pytorch"], default="none", help="pytorch under torchrun")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, default={}, help="KEY=VALUE, for keys of the config"
    )
    return parser.parse_args()


def configured(args: argparse.Namespace) -> Config:
    """Return the config with what the command line changes."""
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options)
    config.resume, config.launcher = args.resume, args.launcher
    if args.work_dir:
        config.work_dir = args.work_dir
    if args.launcher == "pytorch" and not torch.cuda.is_available():  # MMEngine's own launcher asks for a GPU
        dist.init_process_group("gloo")
        config.model_wrapper_cfg = {"type": "MMDistributedDataParallel", "device_ids": None}
    return config


def main() -> None:
    """Train, validate, and print the test accuracy."""
    runner = Runner.from_cfg(configured(arguments()))
    runner.train()
    accuracy = runner.val()["accuracy"]
    if runner.rank == 0:
        print(f"test accuracy: {accuracy:.4f}")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
