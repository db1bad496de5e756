"""The tables of docs/coming-from, read back, and what both sides of a row train."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import nn

from optimbuild import build_optimizer
from tests.golden_cases import ROOT

FOLDER = ROOT / "docs/coming-from"


def rows(page: str, head: str) -> list[tuple[str, str]]:
    """Return the first code of both cells of each row of a table; where the second has none, an empty text.

    Args:
        page: A page's name.
        head: What is in the first cell of the table's head.
    """
    table = (FOLDER / f"{page}.md").read_text("utf-8").partition(f"\n| {head} |")[2].partition("\n\n")[0]
    cells = [line.removeprefix("| ").split(" |") for line in table.splitlines()[2:]]
    assert cells, f"{page} has no table that begins with {head}"
    codes = [[re.findall("`(.+?)`", cell) for cell in row[:2]] for row in cells]
    return [(theirs[0], here[0] if here else "") for theirs, here in codes]


def base(page: str) -> dict[str, Any]:
    """Return the first config of a page."""
    return yaml.safe_load((FOLDER / f"{page}.md").read_text("utf-8").partition("```yaml\n")[2].partition("```")[0])


def changed(config: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a config with what a row changes: options of the optimizer one by one, other keys as wholes."""
    change = yaml.safe_load(text)
    options = config["optimizer"] | change.pop("optimizer", {})
    return {**config, **change, "optimizer": options}


def on_cpu(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with the kernels that torch takes by itself on a CPU, unless it names others."""
    return {"implementation": "for-loop", **config}


def trained(model: nn.Module, make: Callable[[nn.Module], torch.optim.Optimizer], batch: torch.Tensor) -> Weights:
    """Return the weights of a copy of a model after three steps.

    Args:
        model: The model; it stays as it is.
        make: What makes the optimizer of the copy.
        batch: What the model gets.
    """
    model = copy.deepcopy(model)
    optimizer = make(model)
    getattr(optimizer, "train", lambda: None)()  # schedule-free optimizers
    for _ in range(3):
        found = model(batch)
        getattr(found, "logits", found).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: tensor.detach() for name, tensor in model.named_parameters()}


Weights = dict[str, torch.Tensor]


def differing(ours: Weights, theirs: Weights) -> list[str]:
    """Return the names of the weights that are not equal, bit for bit."""
    return [name for name in theirs | ours if not torch.equal(ours[name], theirs[name])]


def ours(config: dict[str, Any]) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return what builds an optimizer of ours from a config."""
    return lambda model: build_optimizer(config, model)
