"""Matrices, outputs, experts and routers are told by evidence: hooks, ties, names of heads, and places in the model."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import Inventory, ParamInfo, inventory

transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


def of_kind(model: nn.Module | Inventory, kind: str) -> set[str]:
    """Return the names of a kind, with N for numbers."""
    found = model if isinstance(model, Inventory) else inventory(model)
    again = Inventory.from_dict(found.to_dict())
    names = {name for name, kinds in found.routing_kinds.items() if kind in kinds}
    assert names == {name for name, kinds in again.routing_kinds.items() if kind in kinds}
    return {re.sub(r"\d+", "N", name) for name in names}


def hugging_face(config: str, model: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
    return made


@pytest.mark.parametrize("tied", [False, True])
def test_the_output_of_a_language_model_is_named_by_the_model(tied):
    llama = hugging_face("LlamaConfig", "LlamaForCausalLM", tie_word_embeddings=tied, **SMALL)
    assert of_kind(llama, "output") == {"model.embed_tokens.weight" if tied else "lm_head.weight"}
    assert "model.layers.N.mlp.gate_proj.weight" in of_kind(llama, "matrix")
    assert not of_kind(llama, "matrix") & {"model.embed_tokens.weight", "model.norm.weight"}
    assert of_kind(llama, "router") == of_kind(llama, "expert") == set()


def test_what_leads_to_an_output_in_its_head_is_none_itself():
    bert = hugging_face("BertConfig", "BertForPreTraining", **SMALL)
    weights = {name for name in of_kind(bert, "output") if name.endswith("weight")}
    assert weights == {"bert.embeddings.word_embeddings.weight", "cls.seq_relationship.weight"}
    segformer = hugging_face("SegformerConfig", "SegformerForSemanticSegmentation")
    assert of_kind(segformer, "output") == {"decode_head.classifier.weight", "decode_head.classifier.bias"}


class TwoHeads(nn.Module):
    """Names one of its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.heads = nn.ModuleDict({"words": nn.Linear(4, 8), "value": nn.Linear(4, 1)})

    def get_output_embeddings(self) -> nn.Module:
        return self.heads["words"]


def test_a_head_beside_the_one_that_a_model_names_is_an_output_too():
    assert of_kind(TwoHeads(), "output") == {f"heads.{n}.{p}" for n in ("words", "value") for p in ("weight", "bias")}


def test_a_conv1d_of_gpt2_is_a_matrix_and_its_tables_are_none():
    gpt2 = hugging_face("GPT2Config", "GPT2LMHeadModel", n_embd=16, n_layer=2, n_head=2, vocab_size=64)
    blocks = {f"transformer.h.N.{name}.weight" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    assert of_kind(gpt2, "matrix") == blocks
    assert of_kind(gpt2, "output") == {"transformer.wte.weight"}


MIXTURES = {
    "Mixtral": ({"num_local_experts": 4}, {"model.layers.N.mlp.gate.weight"}),
    "GptOss": (
        {"num_local_experts": 4, "head_dim": 8},
        {"model.layers.N.mlp.router.weight", "model.layers.N.mlp.router.bias"},
    ),
    "Qwen2Moe": (
        {"num_experts": 4},
        {"model.layers.N.mlp.gate.weight", "model.layers.N.mlp.shared_expert_gate.weight"},
    ),
}


@pytest.mark.parametrize("family", MIXTURES)
def test_experts_and_routers_of_mixtures_are_found(family):
    options, routers = MIXTURES[family]
    model = hugging_face(f"{family}Config", f"{family}ForCausalLM", **SMALL, **options)
    assert of_kind(model, "router") == routers
    experts = of_kind(model, "expert")
    assert {"model.layers.N.mlp.experts.gate_up_proj", "model.layers.N.mlp.experts.down_proj"} <= experts
    assert not any("shared" in name for name in experts)


def test_numbered_experts_are_matrices_beside_their_router():
    moe = nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(4, 4) for _ in range(3)]), "gate": nn.Linear(4, 3)})
    model = nn.ModuleDict({"blocks": nn.ModuleList([moe]), "glu": nn.ModuleDict({"gate": nn.Linear(4, 4)})})
    assert of_kind(model, "expert") == {"blocks.N.experts.N.weight", "blocks.N.experts.N.bias"}
    assert of_kind(model, "router") == {"blocks.N.gate.weight", "blocks.N.gate.bias"}


class Head(nn.Module):
    """A model of timm's form, whose head has a name that says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.last = nn.Linear(4, 4)
        self.after = nn.Linear(4, 4)

    def get_classifier(self) -> nn.Module:
        return self.last

    def get_output_embeddings(self) -> nn.Module:
        raise NotImplementedError


def test_a_hook_decides_and_one_that_raises_says_nothing():
    assert of_kind(Head(), "output") == {"last.weight", "last.bias"}
    assert of_kind(nn.ModuleDict({"inner": Head()}), "output") == {"inner.last.weight", "inner.last.bias"}


def tied(embedding_first: bool) -> nn.Module:
    embed, answer = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    answer.weight = embed.weight
    parts = {"embed_tokens": embed, "body": nn.Linear(4, 4), "answer": answer}
    order = parts if embedding_first else dict(reversed(parts.items()))
    return nn.ModuleDict(order)


def test_a_tensor_tied_to_an_embedding_is_an_output_whichever_is_first():
    assert of_kind(tied(True), "output") == {"embed_tokens.weight"}
    assert of_kind(tied(False), "output") == {"answer.weight"}


def mlp(*widths: int) -> nn.Module:
    return nn.Sequential(*[layer for wide in pairwise(widths) for layer in (nn.Linear(*wide), nn.ReLU())][:-1])


@pytest.mark.parametrize(
    ("model", "output"),
    [
        (mlp(4, 8, 8, 3), {"N.weight", "N.bias"}),
        (mlp(4, 4, 4, 4), set()),
        (nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 3), "linear": nn.Linear(4, 2)}), {"linear.weight", "linear.bias"}),
        (nn.ModuleDict({"head": nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)), "blocks": mlp(4, 4, 4)}),
         {"head.N.weight", "head.N.bias"}),
        (nn.ModuleDict({"se": nn.ModuleDict({"fc": nn.Linear(4, 4)}), "head": nn.Linear(4, 2)}),
         {"head.weight", "head.bias"}),
        (nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]), "norm": nn.LayerNorm(4)}), set()),
        (nn.ModuleDict({"head": nn.Linear(4, 2), "blocks": mlp(4, 4, 4)}), {"head.weight", "head.bias"}),
        (nn.ModuleDict({"a": nn.Linear(4, 8), "b_projection": nn.Linear(8, 2), "c_projection": nn.Linear(8, 2)}),
         {"b_projection.weight", "b_projection.bias", "c_projection.weight", "c_projection.bias"}),
    ],
)  # fmt: skip
def test_without_hooks_names_and_places_tell_the_output(model, output):
    assert of_kind(model, "output") == output


@pytest.mark.parametrize(
    ("param", "is_matrix"),
    [
        (ParamInfo("attn.in_proj_weight", (12, 4), owner="MultiheadAttention"), True),
        (ParamInfo("lora_A.default.weight", (2, 8), kinds=frozenset({"linear"})), True),
        (ParamInfo("text_projection", (8, 4)), True),
        (ParamInfo("lora_A.default.weight", (1, 8), kinds=frozenset({"linear"})), False),
        (ParamInfo("position_embedding", (77, 8)), False),
        (ParamInfo("cls_token", (2, 8)), False),
        (ParamInfo("conv.weight", (8, 4, 3, 3), kinds=frozenset({"conv"})), False),
        (ParamInfo("experts.up_bias", (4, 8), kinds=frozenset({"bias"})), False),
        (ParamInfo("norm.weight", (8, 8), kinds=frozenset({"norm"})), False),
        (ParamInfo("experts.down_proj", (4, 8, 8)), False),
        (ParamInfo("ffn.experts.mlp.w1", (32, 8)), False),
        (ParamInfo("ffn.experts.0.w1", (32, 8)), True),
        (ParamInfo("embeddings.latents", (8, 16)), False),
        (ParamInfo("queries", (8, 16)), False),
    ],
)
def test_a_matrix_is_what_a_layer_multiplies_with(param, is_matrix):
    assert of_kind(Inventory((param,)), "matrix") == ({re.sub(r"\d+", "N", param.name)} if is_matrix else set())
