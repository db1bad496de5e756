"""What MMagic 1.2's ``MultiOptimWrapperConstructor`` gives to the parameters of a model, by config.

``tests/openmmlab/several.py`` compares with the constructor itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

NAME = "MultiOptimWrapperConstructor"
ADAM: dict[str, Any] = {"type": "Adam", "lr": 1e-4, "weight_decay": 0.1}
SGD: dict[str, Any] = {"type": "SGD", "lr": 0.05}


def parts(**modules: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(modules)


class Diffusion(nn.Module):
    """A model with low-rank layers and embeddings inside, and two halves of a GAN."""

    def __init__(self) -> None:
        super().__init__()
        lora = parts(attn=nn.Linear(2, 2), lora_mapping=nn.Linear(2, 2, bias=False))
        self.unet = parts(down=lora, up=parts(attn=nn.Linear(2, 2), lora_mapping=nn.Linear(2, 2, bias=False)))
        self.text_encoder = parts(embedding=nn.Embedding(3, 2), norm=nn.LayerNorm(2))
        self.m1 = parts(generator=nn.Conv2d(2, 2, 1), critic=nn.Conv2d(2, 2, 1))
        self.generator = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
        self.scale = nn.Parameter(self.generator[0].weight.detach().clone())


UNET = [
    f"unet.{half}.{name}" for half in ("down", "up") for name in ("attn.weight", "attn.bias", "lora_mapping.weight")
]
LORA = ["unet.down.lora_mapping.weight", "unet.up.lora_mapping.weight"]
TEXT = ["text_encoder.embedding.weight", "text_encoder.norm.weight", "text_encoder.norm.bias"]
INNER = ["m1.generator.weight", "m1.generator.bias"]
GENERATOR = ["generator.0.weight", "generator.0.bias", "generator.1.weight", "generator.1.bias"]


class Case(NamedTuple):
    """A config, and what is trained.

    Args:
        wrapper: The ``optim_wrapper``, without its constructor.
        trained: By optimizer the names of what it trains; the name of a single one is empty.
        twice: Those that the published constructor hands to an optimizer more than once.
    """

    wrapper: dict[str, Any]
    trained: dict[str, list[str]]
    twice: list[str] = []  # noqa: RUF012  # never written to


def one(modules: Any, trained: list[str], twice: list[str] | None = None) -> Case:
    return Case({"modules": modules, "optimizer": ADAM, "type": "OptimWrapper"}, {"": trained}, twice or [])


def of(optimizer: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "OptimWrapper", "optimizer": optimizer, **more}


CASES = {
    "a module": one("unet", UNET),
    "modules": one(["unet", "text_encoder"], UNET + TEXT),
    "an inner module": one(["m1.generator"], INNER),
    "an expression": one(".*.lora_mapping", LORA),
    "an expression of a module at the top": one(".*text_encoder$", TEXT),
    "a flag": one("(?i).*LORA_mapping", LORA),
    "a look ahead": one(r"unet\.(?!up)\w+$", UNET[:3]),
    "an alternative that ends inside": one(["unet|unet.*attn"], UNET, [*UNET[:2], *UNET[3:5]]),
    "a name that is no module": one(["unet", "vae", "scale"], UNET),
    "a part of a name": one(["text", "generator"], GENERATOR),
    "a module and one inside": one(["unet", "unet.up"], UNET, UNET[3:]),
    "two expressions": Case(
        {".*embedding": of(ADAM), "m1.generator": of(SGD), "generator": of({**SGD, "lr": 0.5})},
        {".*embedding": TEXT[:1], "m1.generator": INNER, "generator": GENERATOR},
    ),
    "modules of each": Case(
        {"first": of(ADAM, modules=["unet", "text_encoder"]), "second": of(SGD, modules=r"m1\.generator")},
        {"first": UNET + TEXT, "second": INNER},
    ),
    "a module, and an expression": Case(
        {
            "gan": of(ADAM, modules="generator", paramwise_cfg={"norm_decay_mult": 0.0}),
            "lora": of(SGD, modules=".*lora_.*"),
        },
        {"gan": GENERATOR, "lora": LORA},
    ),
    "an empty paramwise_cfg": Case(
        {"lora": of(ADAM, modules=".*lora_.*", paramwise_cfg={}), "gan": of(SGD, modules="generator")},
        {"lora": LORA, "gan": GENERATOR},
    ),
}  # fmt: skip
"""By what the config names."""

FAILING: dict[str, tuple[dict[str, Any], str]] = {
    "no modules": (of(ADAM), "modules"),
    "modules that are None": (of(ADAM, modules=None), "modules"),
    "no module of these names": (of(ADAM, modules=["vae", "scale"]), "modules[0]"),
    "an empty list": (of(ADAM, modules=[]), "modules"),
    "paramwise_cfg beside modules": (of(ADAM, modules="unet", paramwise_cfg={"bias_lr_mult": 2.0}), "paramwise_cfg"),
    "an empty paramwise_cfg beside modules": (of(ADAM, modules="unet", paramwise_cfg={}), "paramwise_cfg"),
    "a broken expression": (of(ADAM, modules="unet("), "modules"),
    "paramwise_cfg beside an expression": (
        {".*lora_.*": of(ADAM, paramwise_cfg={"bias_lr_mult": 2.0}), "generator": of(SGD)},
        "['.*lora_.*'].paramwise_cfg",
    ),
    "paramwise_cfg beside a list": (
        {"gan": of(ADAM, modules=["generator"], paramwise_cfg={"bias_lr_mult": 2.0})},
        "gan.paramwise_cfg",
    ),
    "modules of one that are None": (
        {"gan": of(ADAM, modules=None), "m1": of(SGD, modules="m1")},
        "gan.modules",
    ),
    "modules of some only": ({"unet": of(ADAM), "gan": of(SGD, modules="generator")}, "unet.modules"),
    "an optimizer without any module": ({"vae": of(ADAM), "generator": of(SGD)}, "vae"),
    "an optimizer without a match": ({".*vae": of(ADAM), "generator": of(SGD)}, "['.*vae']"),
}
"""By what is wrong: the config, and the place of which ours tells."""
