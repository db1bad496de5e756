"""Depths from names: of real architectures, of published models, and what cannot be told."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import transformers
import yaml

from optimbuild import ConfigError, Inventory, ParamInfo, inventory, make_plan
from optimbuild.model.depths.from_names import from_names
from tests.golden_cases import golden_inventory

SMALL = {"num_hidden_layers": 3, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
TEXT = {**SMALL, "vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
STAGES = {"depths": [2, 1, 3, 2]}
WIDTHS = {"hidden_sizes": [8, 8, 16, 16], **STAGES}

MODELS: Mapping[str, tuple[Any, Callable[[], Any]]] = {
    "vit": (transformers.ViTForImageClassification, lambda: transformers.ViTConfig(**SMALL)),
    "bert": (transformers.BertForSequenceClassification, lambda: transformers.BertConfig(**TEXT)),
    "llama": (transformers.LlamaForCausalLM, lambda: transformers.LlamaConfig(**TEXT)),
    "swin": (
        transformers.SwinForImageClassification,
        lambda: transformers.SwinConfig(embed_dim=8, num_heads=[1, 2, 2, 2], **STAGES),
    ),
    "convnext": (transformers.ConvNextForImageClassification, lambda: transformers.ConvNextConfig(**WIDTHS)),
    "resnet": (
        transformers.ResNetForImageClassification,
        lambda: transformers.ResNetConfig(embedding_size=8, **WIDTHS),
    ),
    "t5": (
        transformers.T5ForConditionalGeneration,
        lambda: transformers.T5Config(num_layers=2, d_model=8, d_kv=4, d_ff=16, num_heads=2, vocab_size=32),
    ),
    "clip": (
        transformers.CLIPModel,
        lambda: transformers.CLIPConfig(text_config=TEXT, vision_config=SMALL),
    ),
}


def surveyed(name: str) -> Inventory:
    cls, config = MODELS[name]
    with torch.device("meta"):
        return inventory(cls(config()))


def plan(model: Inventory, **options: Any) -> Any:
    config = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [{"type": "layer_decay", "ratio": 0.5, **options}]}
    return make_plan(config, model)


def names(*texts: str) -> Inventory:
    return Inventory(tuple(ParamInfo(text, (2, 2)) for text in texts), model="Net")


def layers(*texts: str) -> list[int]:
    """Return the layers of parameters with these names, in their order."""
    depths = from_names(names(*texts))
    assert set(depths.layer_of.values()) == set(range(depths.layers))
    return [depths.layer_of[text] for text in texts]


def blocks_of_yaml(message: str) -> list[Any]:
    """Return what the indented parts of a message say in YAML."""
    parts = re.findall(r"(?:^ .*\n?)+", message, re.MULTILINE)
    return [yaml.safe_load(textwrap.dedent(part)) for part in parts]


def stacked(message: str) -> dict[str, Any]:
    """Return the options of the one rule that lists all layers from input to output."""
    return blocks_of_yaml(message)[-1]


# --- real architectures ----------------------------------------------------------------------

ONE_TRUNK = {
    "vit": ("vit.layers.", {"vit.embeddings": 0, "vit.layernorm": 4, "classifier": 4}),
    "bert": ("bert.encoder.layer.", {"bert.embeddings": 0, "bert.pooler": 4, "classifier": 4}),
    "llama": ("model.layers.", {"model.embed_tokens": 0, "model.norm": 4, "lm_head": 4}),
}


@pytest.mark.parametrize("name", ONE_TRUNK)
def test_blocks_lie_between_what_comes_before_and_after_them(name: str) -> None:
    trunk, around = ONE_TRUNK[name]
    expected = around | {f"{trunk}{i}": i + 1 for i in range(3)}
    model = surveyed(name)
    depths = from_names(model)
    assert depths.layers == 5
    for param in model:
        (prefix,) = [prefix for prefix in expected if param.name.startswith(f"{prefix}.")]
        assert depths.layer_of[param.name] == expected[prefix]
    (note,) = plan(model).notes
    assert note.startswith(f"layer_decay: depths from names: 5 layers around {trunk}{{n}}; the first is ")
    assert plan(model).warnings == ()


STAGED = {
    "swin": ("swin.encoder.layers.{n}.blocks.{n}", ("swin.layernorm.weight", "classifier.weight")),
    "convnext": ("convnext.encoder.stages.{n}.layers.{n}", ("convnext.layernorm.weight", "classifier.weight")),
    "resnet": ("resnet.encoder.stages.{n}.layers.{n}", ("classifier.1.weight",)),
}


@pytest.mark.parametrize("name", STAGED)
def test_blocks_inside_of_stages_are_counted_through(name: str) -> None:
    trunk, top = STAGED[name]
    model = surveyed(name)
    depths = from_names(model)
    found = plan(model)
    (note,) = found.notes
    assert note.startswith(f"layer_decay: depths from names: 10 layers around {trunk}; the first is ")
    order = [(stage, block) for stage, count in enumerate(STAGES["depths"]) for block in range(count)]
    for layer, (stage, block) in enumerate(order, 1):
        prefix = trunk.replace("{n}", str(stage), 1).replace("{n}", str(block)) + "."
        inside = [param.name for param in model if param.name.startswith(prefix)]
        assert inside
        assert {depths.layer_of[name] for name in inside} == {layer}
        assert {found[name].lr for name in inside} == {0.5 ** (9 - layer)}
    assert depths.layer_of[model.params[0].name] == 0
    assert [depths.layer_of[name] for name in top] == [9] * len(top)


def test_parts_of_a_stage_go_with_the_block_beside_them() -> None:
    swin = from_names(surveyed("swin")).layer_of
    assert swin["swin.encoder.layers.0.downsample.reduction.weight"] == 2
    assert swin["swin.encoder.layers.2.downsample.reduction.weight"] == 6
    convnext = from_names(surveyed("convnext")).layer_of
    assert convnext["convnext.encoder.stages.1.downsampling_layer.0.weight"] == 3
    assert convnext["convnext.encoder.stages.3.downsampling_layer.0.weight"] == 7


@pytest.mark.parametrize("name", ["internimage_t", "internimage_l", "internimage_h"])
def test_blocks_of_internimage_are_ordered_as_its_own_hook_has_them(name: str) -> None:
    model = golden_inventory(name)
    bare, hooked = plan(Inventory(model.params, model=model.model)), plan(model)
    assert bare.warnings == ()
    assert any("around levels.{n}.blocks.{n}" in note for note in bare.notes)
    blocks = [param.name for param in model if ".blocks." in param.name]
    assert len(blocks) > 300
    # The hook gives the last block the full LR; here the head alone has it.
    assert [bare[name].lr for name in blocks] == [hooked[name].lr * 0.5 for name in blocks]
    assert bare["head.weight"].lr == 1.0
    assert bare["patch_embed.conv1.weight"].lr == min(decision.lr for decision in bare) < bare[blocks[0]].lr
    for stage in range(3):
        last = max((n for n in blocks if n.startswith(f"levels.{stage}.")), key=lambda n: int(n.split(".")[3]))
        assert bare[f"levels.{stage}.downsample.conv.weight"].lr == bare[last].lr


def test_blocks_of_internvit_are_where_its_own_hook_has_them() -> None:
    model = golden_inventory("internvit_6b")
    bare, hooked = plan(Inventory(model.params, model=model.model)), plan(model)
    assert [decision.lr for decision in bare] == [decision.lr for decision in hooked]


BACKBONE = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
ENCODER_DECODER = {
    "d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
}  # fmt: skip
OTHERS: Mapping[str, tuple[str, Callable[[], Any], int | None]] = {
    "deit": ("DeiTForImageClassification", lambda: transformers.DeiTConfig(**SMALL), 5),
    "beit": ("BeitForImageClassification", lambda: transformers.BeitConfig(**SMALL), 5),
    "roberta": ("RobertaForMaskedLM", lambda: transformers.RobertaConfig(**TEXT), 5),
    "gpt2": ("GPT2LMHeadModel", lambda: transformers.GPT2Config(n_layer=3, n_embd=8, n_head=2), 5),
    "opt": ("OPTForCausalLM", lambda: transformers.OPTConfig(**TEXT, ffn_dim=16, word_embed_proj_dim=8), 5),
    "t5 encoder": (
        "T5EncoderModel",
        lambda: transformers.T5Config(num_layers=3, d_model=8, d_kv=4, d_ff=16, num_heads=2, vocab_size=32),
        5,
    ),
    "poolformer": ("PoolFormerForImageClassification", lambda: transformers.PoolFormerConfig(), 13),
    "detr": (
        "DetrForObjectDetection",
        lambda: transformers.DetrConfig(
            **BACKBONE,
            **ENCODER_DECODER,
            backbone_config=transformers.ResNetConfig(embedding_size=8, **WIDTHS, out_features=["stage4"]),
        ),
        None,
    ),
    "bart": ("BartForConditionalGeneration", lambda: transformers.BartConfig(**ENCODER_DECODER, vocab_size=32), None),
    "albert": ("AlbertForMaskedLM", lambda: transformers.AlbertConfig(**TEXT, embedding_size=8), None),
}
"""More architectures, with their number of layers; None where it cannot be told."""


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_have_their_layers_or_an_example_that_works(name: str) -> None:
    cls, config, expected = OTHERS[name]
    with torch.device("meta"):
        model = inventory(getattr(transformers, cls)(config()))
    if expected is not None:
        assert from_names(model).layers == expected
        return
    with pytest.raises(ConfigError, match="depth cannot be inferred from the names") as caught:
        plan(model)
    by_hand = plan(model, **stacked(str(caught.value)))
    assert not [warning for warning in by_hand.warnings if "no layer claims" in warning]  # DETR's stem is frozen


# --- names by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        # gaps are no layers, and 10 comes after 9
        (("stem", "b.9.w", "b.10.w", "b.2.w", "head"), [0, 2, 3, 1, 4]),
        # what is called a head, or final, is at the top wherever it stands
        (("head.w", "final_norm.w", "cls", "b.0.w", "b.1.w", "b.2.w", "b.3.w"), [5, 5, 0, 1, 2, 3, 4]),
        # nothing before and nothing after
        (("b.0.w", "b.1.w"), [0, 1]),
        # digits at the end of a segment, as torchvision's ResNet has them
        (("conv1.w", *(f"layer{i}.{j}.{c}.w" for i in (1, 2) for j in (0, 1) for c in "ab"), "fc.w"),
         [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]),
        # a small sequence beside the trunk, with the same indices
        (("stem", "norms.0", "norms.1", *(f"stages.{i}.{w}" for i in (0, 1) for w in "abcdefgh")),
         [0, 1, 2, *([1] * 8), *([2] * 8)]),
        # numbered parts of a block that are unlike are no blocks
        (("stem", *(f"block.{i}.layer.{w}" for i in (0, 1) for w in ("0.attn.w", "1.mlp.w")), "norm"),
         [0, 1, 1, 2, 2, 3]),
    ],
)  # fmt: skip
def test_layers_follow_the_numbers(texts: tuple[str, ...], expected: list[int]) -> None:
    assert layers(*texts) == expected


# --- what cannot be told ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t5", "clip"])
def test_several_trunks_are_an_error_whose_example_works(name: str) -> None:
    model = surveyed(name)
    with pytest.raises(ConfigError, match="several sequences of numbered modules could be the trunk") as caught:
        plan(model)
    assert caught.value.path == "rules[0].layers"
    by_hand = plan(model, **stacked(str(caught.value)))
    assert [warning for warning in by_hand.warnings if not warning.endswith("keep the full LR: logit_scale")] == []
    assert by_hand.notes[0] == "layer_decay: depths from `layers` of the config"
    for trunk in {"t5": ("encoder.block", "decoder.block"), "clip": ("text_model.encoder.layers",)}[name]:
        first, second = (
            {decision.lr for decision in by_hand if decision.name.startswith(f"{trunk}.{i}.")} for i in (0, 1)
        )
        assert (len(first), {lr * 2 for lr in first}) == (1, second)


def test_both_forms_in_the_error_about_the_towers_of_clip_work_as_pasted() -> None:
    model = surveyed("clip")
    with pytest.raises(ConfigError) as caught:
        plan(model)
    first, second = re.findall(r":\n((?:  .*\n?)+)", str(caught.value))
    config = {"optimizer": {"type": "adamw", "lr": 1.0}}
    parallel = make_plan({**config, "rules": yaml.safe_load(textwrap.dedent(first))}, model)
    stacked_rule = {"type": "layer_decay", "ratio": 0.75, **yaml.safe_load(textwrap.dedent(second))}
    one = make_plan({**config, "rules": [stacked_rule]}, model)
    above = {"vision_model": 0, "text_model": 4}  # text comes first in the model: below the three blocks and the ends
    for tower, distance in above.items():
        for i in range(3):
            blocks = f"{tower}.encoder.layers.{i}."
            assert {d.lr for d in parallel if d.name.startswith(blocks)} == {0.75 ** (3 - i)}
            assert {d.lr for d in one if d.name.startswith(blocks)} == {0.75 ** (distance + 3 - i)}
        assert {d.lr for d in parallel if d.name.startswith(f"{tower}.embeddings")} == {0.75**4}


@pytest.mark.parametrize(
    ("texts", "reason", "example"),
    [
        (("a.w", "b.w"), "no sequence of numbered modules is in them", ["a", "b"]),
        (("b.0.w", "b.1.w", "x.w", "y.w", "z.w"),
         "b.{n} is the only sequence of numbered modules, and holds too little of the model",
         ["b.{n}", ["x", "y", "z"]]),
        (("x.0.w", "x.1.w", "y.0.w", "y.1.w", "head"), "could be the trunk: y.{n}, x.{n}",
         ["x.{n}", "y.{n}", "head"]),
        (("weight", "bias"), "no sequence of numbered modules is in them", ["weight", "bias"]),
        (("w_l0", "v_l0", "w_l1", "v_l1"), "could be the trunk: w_l{n}, v_l{n}", ["w_l{n}", "v_l{n}"]),
    ],
)  # fmt: skip
def test_depths_that_cannot_be_inferred_are_an_error_with_an_example(
    texts: tuple[str, ...], reason: str, example: list[Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(names(*texts))
    assert reason in str(caught.value)
    options = stacked(str(caught.value))
    assert plan(names(*texts), **options).warnings == ()
    assert options == {"layers": example}


def test_a_long_example_is_cut() -> None:
    many = [f"part{c}{d}.{i}.w" for c in "abcdef" for d in "abcdef" for i in (0, 1)]
    with pytest.raises(ConfigError) as caught:
        plan(names(*many))
    assert str(caught.value).endswith("    # and 6 more")
