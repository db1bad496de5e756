"""The stem of a trunk: no head is in it, wherever a model registers its heads, and no other tower is torn apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ConfigError, Inventory, inventory
from optimbuild.model.depths.from_names import from_names

WIDTH = 8


class Parts(nn.Module):
    """Modules and parameters, registered in the order given."""

    def __init__(self, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def blocks(count: int) -> nn.ModuleList:
    return nn.ModuleList(
        Parts(norm=nn.LayerNorm(WIDTH), attn=nn.Linear(WIDTH, 3 * WIDTH), proj=nn.Linear(WIDTH, WIDTH))
        for _ in range(count)
    )


def tower(count: int) -> Parts:
    return Parts(patch_embed=nn.Conv2d(3, WIDTH, 2), blocks=blocks(count), norm=nn.LayerNorm(WIDTH))


def stem(model: nn.Module | Inventory) -> set[str]:
    """Return the modules of which a parameter is in the layer below the first block."""
    model = model if isinstance(model, Inventory) else inventory(model)
    layer_of = from_names(model).layer_of
    lowest_block = min(layer for name, layer in layer_of.items() if "blocks." in name)
    return {name.rpartition(".")[0] or name for name, layer in layer_of.items() if layer < lowest_block}


HEADS: Mapping[str, Callable[[int], nn.Module]] = {
    "class_embed": lambda classes: nn.Linear(WIDTH, classes),
    "bbox_embed": lambda _: Parts(layers=nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)])),
    "mask_embed": lambda classes: nn.Linear(WIDTH, classes),
    "cls_score": lambda classes: nn.Linear(WIDTH, classes),
    "conv_cls": lambda classes: nn.Conv2d(WIDTH, classes, 1),
    "conv_reg": lambda _: nn.Conv2d(WIDTH, 4, 1),
    "unembed": lambda classes: nn.Linear(WIDTH, classes),
    "output_embedding": lambda classes: nn.Linear(WIDTH, classes),
    "token_logits": lambda classes: nn.Linear(WIDTH, classes),
    "verb_embed": lambda classes: nn.Linear(WIDTH, classes),
    "conv_verbs": lambda classes: nn.Conv2d(WIDTH, classes, 1),
}


@pytest.mark.parametrize("classes", [5, WIDTH])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_registered_before_the_trunk_is_no_stem(name: str, classes: int) -> None:
    head, embed = HEADS[name](classes), nn.Embedding(30, WIDTH)
    assert stem(Parts(**{name: head}, embed=embed, blocks=blocks(4))) == {"embed"}
    assert stem(Parts(embed=embed, **{name: head}, blocks=blocks(4))) == {"embed"}
    assert stem(Parts(**{name: head}, blocks=blocks(4))) == set()
    assert stem(Parts(**{name: head}, backbone=tower(4))) == {"backbone.patch_embed"}


def test_an_embedding_in_a_head_behind_the_trunk_is_no_stem() -> None:
    decoder = Parts(embeddings=nn.Embedding(5, WIDTH), out=nn.Linear(WIDTH, 5))
    assert stem(Parts(patch_embed=nn.Conv2d(3, WIDTH, 2), blocks=blocks(4), decoder=decoder)) == {"patch_embed"}


def test_queries_of_a_detector_are_not_the_stem_of_its_backbone() -> None:
    assert stem(Parts(query_embed=nn.Embedding(5, WIDTH), backbone=tower(4))) == {"backbone.patch_embed"}


STEMS: Mapping[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "a convolution over an image": (lambda: Parts(first=nn.Conv2d(3, WIDTH, 2), blocks=blocks(4)), {"first"}),
    "a projection to the width": (lambda: Parts(point_embed=nn.Linear(5, WIDTH), blocks=blocks(4)), {"point_embed"}),
    "two convolutions": (
        lambda: Parts(conv1=nn.Conv1d(20, WIDTH, 3), conv2=nn.Conv1d(WIDTH, WIDTH, 3), blocks=blocks(4)),
        {"conv1", "conv2"},
    ),
    "around the encoder": (
        lambda: Parts(
            class_token=nn.Parameter(torch.zeros(1, 1, WIDTH)),
            conv_proj=nn.Conv2d(3, WIDTH, 2),
            encoder=Parts(pos_embedding=nn.Parameter(torch.zeros(1, 5, WIDTH)), blocks=blocks(4)),
        ),
        {"class_token", "conv_proj", "encoder"},
    ),
    "numbered convolutions over sound": (
        lambda: Parts(
            feature_extractor=nn.ModuleList([nn.Conv1d(1, 5, 3), nn.Conv1d(5, 5, 3)]),
            feature_projection=nn.Linear(5, WIDTH),
            encoder=Parts(pos_conv_embed=nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH), blocks=blocks(6)),
        ),
        {"feature_extractor.0", "feature_extractor.1", "feature_projection", "encoder.pos_conv_embed"},
    ),
}


@pytest.mark.parametrize("name", STEMS)
def test_what_takes_the_input_is_the_stem(name: str) -> None:
    build, expected = STEMS[name]
    assert stem(build()) == expected


@pytest.mark.parametrize("order", [("small", "large"), ("large", "small")])
def test_another_tower_has_no_layer_wherever_it_is_registered(order: tuple[str, str]) -> None:
    model = inventory(Parts(**{name: tower({"small": 2, "large": 20}[name]) for name in order}))
    layer_of = from_names(model).layer_of
    assert {name.partition(".")[0] for name in layer_of} == {"large"}
    assert from_names(model).layers == 22


def test_numbered_heads_behind_the_trunk_are_on_top() -> None:
    heads = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4))
    depths = from_names(inventory(Parts(backbone=tower(6), fc=heads)))
    assert depths.layer_of["fc.1.weight"] == depths.layer_of["backbone.norm.weight"] == depths.layers - 1


@pytest.mark.parametrize("order", [("lm_head", "embed_tokens"), ("embed_tokens", "lm_head")])
def test_a_table_shared_with_a_head_is_the_stem_whichever_is_first(order: tuple[str, str]) -> None:
    made: dict[str, Any] = {"lm_head": nn.Linear(WIDTH, 30, bias=False), "embed_tokens": nn.Embedding(30, WIDTH)}
    made["lm_head"].weight = made["embed_tokens"].weight
    assert stem(Parts(**{name: made[name] for name in order}, blocks=blocks(4))) == {order[0]}


def test_a_parameter_that_projects_to_the_output_is_no_stem() -> None:
    bare = {name: nn.Parameter(torch.zeros(WIDTH, 30)) for name in ("unembed", "class_embed")}
    assert stem(Parts(**bare, embed=nn.Embedding(30, WIDTH), blocks=blocks(4))) == {"embed"}
    vector = nn.Parameter(torch.zeros(WIDTH))
    assert stem(Parts(class_embedding=vector, blocks=blocks(4))) == {"class_embedding"}


def test_depths_of_equal_towers_cannot_be_told() -> None:
    with pytest.raises(ConfigError, match="several sequences"):
        from_names(inventory(Parts(visual=tower(4), text=tower(4))))
