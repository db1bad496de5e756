"""The models that benchmarks work on: real architectures at their real sizes, none of them downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measuring import device
from optimbuild import Inventory, ParamInfo

INVENTORIES = Path(__file__).parent.parent / "configs" / "inventories"

VIT_TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "image_size": 32,
}
VIT_S = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
VIT_B: dict[str, int] = {}
VIT_L = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}
LLAMA = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
"""The sizes of a Llama with 135 million parameters."""

HUGGING_FACE: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "ViT of 3 layers": ("ViTConfig", "ViTForImageClassification", VIT_TINY),
    "ViT-S": ("ViTConfig", "ViTForImageClassification", VIT_S),
    "ViT-B": ("ViTConfig", "ViTForImageClassification", VIT_B),
    "ViT-L": ("ViTConfig", "ViTForImageClassification", VIT_L),
    "Swin-T": ("SwinConfig", "SwinForImageClassification", {}),
    "ConvNeXt-T": ("ConvNextConfig", "ConvNextForImageClassification", {}),
    "Llama-135M": ("LlamaConfig", "LlamaForCausalLM", LLAMA),
}
"""By name: config class and model class of transformers, and what differs from the config's defaults. The first one is
there to see that a benchmark works."""


TINY, *REAL = HUGGING_FACE


def hugging_face(name: str) -> nn.Module:
    """Return a model of transformers at its real size, its weights drawn anew, its gradients set.

    Raises:
        ImportError: transformers is not installed.
    """
    import transformers

    config, model, options = HUGGING_FACE[name]
    with torch.device("meta"):
        module: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
    module = module.to_empty(device=device())
    module.tie_weights()  # type: ignore[operator]
    with_numbers(list(module.parameters()))
    return module


def with_numbers(tensors: list[nn.Parameter]) -> list[nn.Parameter]:
    """Give tensors weights and gradients of the size that training gives them."""
    generator = torch.Generator(tensors[0].device).manual_seed(0)
    with torch.no_grad():
        for tensor in tensors:
            tensor.normal_(0.0, 0.02, generator=generator)
            tensor.grad = torch.empty_like(tensor).normal_(0.0, 1e-3, generator=generator)
    return tensors


def from_inventory(name: str, at_most: int | None = None) -> nn.Module:
    """Return a tree of modules with the names, shapes and classes of an inventory file, and its hooks.

    Each tensor has its real shape and only one number behind it, so that a model of six billion parameters takes no
    memory. Modules without parameters are not in an inventory; those that the published InternImage has
    (activations, dropouts, permutations) are put back, because they take time where a builder walks the model.

    Args:
        name: The file's name without its ending.
        at_most: How many tensors, from the first one on; None is all of them.
    """
    inventory = Inventory.read(INVENTORIES / f"{name}.json")
    params = inventory.params[:at_most]
    classes = _classes(params)
    root: nn.Module = type(inventory.model, (nn.Module,), _methods(inventory))()
    for param in params:
        *path, leaf = param.name.split(".")
        module = root
        for at, segment in enumerate(path):
            if segment not in module._modules:
                module.add_module(segment, _module(".".join(path[: at + 1]), classes))
            module = module.get_submodule(segment)
        if "conv" in param.kinds and leaf == "weight":  # what MMEngine looks at to find depth-wise ones
            groups = param.shape[0] if "depthwise" in param.kinds else 1
            module.__dict__ |= {"in_channels": param.shape[1] * groups, "groups": groups}
        placeholder = torch.empty(1).expand(param.shape)
        module.register_parameter(leaf, nn.Parameter(placeholder, requires_grad=param.trainable))
    return root


def _classes(params: Iterable[ParamInfo]) -> dict[str, type[nn.Module]]:
    """Return the class of each module that owns parameters, by the module's name."""
    made: dict[tuple[str, tuple[str, ...]], type[nn.Module]] = {}
    classes = {}
    for param in params:
        key = (param.owner, param.bases)
        if key not in made:
            base = getattr(nn, param.bases[0]) if param.bases else nn.Module
            made[key] = base if base.__name__ == param.owner else type(param.owner, (base,), {})
        classes[param.name.rpartition(".")[0]] = made[key]
    return classes


def _module(name: str, classes: Mapping[str, type[nn.Module]]) -> nn.Module:
    """Return a module of the right class without the parameters that its own constructor would make."""
    kind = classes.get(name, nn.Module)
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    for pattern, children in _PARAMETERLESS:
        if re.search(pattern, name):
            for child in children:
                module.add_module(child, nn.Identity())
    return module


_PARAMETERLESS = (
    (r"^levels\.\d+\.blocks\.\d+$", ("drop_path",)),
    (r"\.mlp$", ("act", "drop")),
    (r"\.dcn$", ("center_feature_scale_module",)),
    (r"\.dw_conv$", ("2",)),
    (r"\.dw_conv\.1$", ("0",)),
    (r"^patch_embed$", ("act",)),
    (r"^patch_embed\.norm1$", ("0", "2")),
    (r"^patch_embed\.norm2$", ("0",)),
    (r"\.downsample\.norm$", ("0",)),
)
"""By a pattern over a module's name, its children without parameters in the published InternImage-H."""


def _methods(inventory: Inventory) -> dict[str, Callable[..., Any]]:
    """Return the model's hooks as methods; each call makes its answer anew, as a model's own method does."""
    answers = inventory.hints.answers

    def no_weight_decay(_: nn.Module) -> set[str]:
        return set(answers["no_weight_decay"])

    def no_weight_decay_keywords(_: nn.Module) -> list[str]:
        return list(answers["no_weight_decay_keywords"])

    def lr_decay_keywords(_: nn.Module, ratio: float) -> dict[str, float]:
        return dict(answers["lr_decay_keywords"][repr(ratio)])

    methods = (no_weight_decay, no_weight_decay_keywords, lr_decay_keywords)
    return {method.__name__: method for method in methods if method.__name__ in answers}


def small(count: int, shape: tuple[int, ...], where: torch.device | None = None) -> nn.Module:
    """Return a model of so many tensors, all alike, in which gradients are set; on our device unless told."""
    module = nn.ParameterList([nn.Parameter(torch.empty(shape, device=where or device())) for _ in range(count)])
    with_numbers(list(module.parameters()))
    return module
