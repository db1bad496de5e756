"""The measured cases of published builders, and real modules made of their inventories."""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optimbuild import Inventory

ROOT = Path(__file__).parents[1]
CASES = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "tests/golden/cases").glob("*.json"))
}
YACS = {name: case for name, case in CASES.items() if "TRAIN" in case["config"]}
"""The cases that are in the yacs dialect."""
_CONSTRUCTORS = json.loads(lzma.decompress((ROOT / "tests/golden/constructors.json.xz").read_bytes()))
CONSTRUCTORS: dict[str, Any] = _CONSTRUCTORS["cases"]
"""The cases of published constructors, with their configs as published; their models are in :data:`MODELS`."""
MODELS: dict[str, Any] = _CONSTRUCTORS["models"]
"""By name the inventory files of these models."""


@cache
def golden_inventory(model: str) -> Inventory:
    """Return a published model as its inventory file has it."""
    if model in MODELS:
        return Inventory.from_dict(MODELS[model])
    places = (ROOT / "tests/golden/models", ROOT / "configs/inventories")
    return Inventory.read(next(place / f"{model}.json" for place in places if (place / f"{model}.json").exists()))


def module_of(inventory: Inventory) -> nn.Module:
    """Return a module on the meta device with the parameters, owners and hooks of an inventory."""
    root = _Root()
    for param in inventory:
        module: nn.Module = root
        *path, last = param.name.split(".")
        for depth, key in enumerate(path):
            if key not in module._modules:
                module.add_module(key, _owner(param.owner, param.bases) if depth == len(path) - 1 else nn.Module())
            module = module._modules[key]
        tensor = torch.empty(param.shape, dtype=getattr(torch, param.dtype), device="meta")
        module.register_parameter(last, nn.Parameter(tensor, requires_grad=param.trainable))
    root.answers = inventory.hints.answers
    return root


class _Root(nn.Module):
    """Answers as the published model did; it has the hooks that the inventory holds."""

    answers: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        answers = self.__dict__.get("answers", {})
        if name not in answers:
            return super().__getattr__(name)
        if name == "lr_decay_keywords":
            return lambda ratio: answers[name][repr(ratio)]
        if name == "get_layer_depth":
            return lambda parameter: tuple(answers[name][parameter])
        return lambda: answers[name]


def _owner(name: str, bases: tuple[str, ...]) -> nn.Module:
    """Return a module of the owner's class, without the parameters that its constructor would make."""
    parent = getattr(nn, bases[0], nn.Module) if bases else nn.Module
    module = type(name, (parent,), {}).__new__(type(name, (parent,), {}))
    nn.Module.__init__(module)
    return module
