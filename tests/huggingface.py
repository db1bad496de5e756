"""Architectures of Hugging Face, what ``no_decay`` and the Trainer leave out of them, and why these differ.

``python -m tests.huggingface`` prints the table of docs/coming-from/huggingface-models.md.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from optimbuild import ParamInfo, Plan, make_plan
from tests.meta import on_meta

os.environ.setdefault("HF_HUB_OFFLINE", "1")

FAMILIES = (
    "albert", "audio-spectrogram-transformer", "bart", "beit", "bert", "big_bird", "bit", "blip", "blip-2", "bloom",
    "canine", "clap", "clip", "codegen", "cohere2", "convbert", "convnext", "convnextv2", "cpmant", "ctrl", "cvt",
    "deberta", "deberta-v2", "deepseek_v3", "deit", "diffllama", "dinov2", "dinov3_vit", "distilbert", "dpt", "electra",
    "encodec", "falcon", "flava", "fnet", "gemma2", "git", "glpn", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox",
    "gpt_oss", "gptj", "groupvit", "hiera", "hubert", "jamba", "layoutlmv3", "levit", "llama", "longformer", "mamba",
    "mamba2", "marian", "mask2former", "mbart", "mistral", "mixtral", "mobilenet_v2", "mobilevit", "modernbert",
    "mpnet", "nystromformer", "olmo2", "opt", "owlv2", "patchtst", "perceiver", "phi", "poolformer", "pvt", "qwen2",
    "qwen3_moe", "qwen3_next", "reformer", "regnet", "roberta", "roformer", "rwkv", "sam", "segformer", "siglip",
    "swiftformer", "swin", "swinv2", "t5", "timesformer", "univnet", "vilt", "vit", "vit_mae", "vits", "wav2vec2",
    "whisper", "xlm", "xlnet", "yolos", "zamba", "zamba2",
)  # fmt: skip
"""The ``model_type`` of the architectures."""

_NUMBERS_OF_LAYERS = re.compile(r"^(num|n|encoder|decoder|num_encoder|num_decoder|num_hidden)_?(hidden_)?layers?$")
_CONFIG = {
    "optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.05},
    "rules": [{"type": "no_decay"}],
}
_TRAINERS = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""The names that the Trainer does not decay, in lower case; beside them it leaves out ``LayerNorm``."""


class Compared(NamedTuple):
    """What is left out of an architecture, here and by the Trainer.

    Args:
        model: Its class.
        plan: The plan of ``no_decay`` with its own switches.
        decayed: The names that the Trainer decays.
    """

    model: nn.Module
    plan: Plan
    decayed: frozenset[str]

    def differing(self) -> Iterator[tuple[ParamInfo, str]]:
        """Yield each parameter that is left out on one side only, and why."""
        for decision in self.plan:
            here, theirs = bool(decision.weight_decay), decision.name in self.decayed
            if here != theirs:
                yield decision.param, _why_decayed(decision.param) if here else _why_left_out(decision.param)


def _why_left_out(param: ParamInfo) -> str:
    """Return why a parameter that the Trainer decays is left out here."""
    if not param.trainable:
        return "frozen by the model itself"
    if "norm" in param.kinds:
        return "norm by another class or name than the Trainer's"
    if len(param.shape) < 2:
        return "one-dimensional"
    if sum(size != 1 for size in param.shape) < 2:
        return "vector in another shape"
    return f"marked {', '.join(param.marks)}" if param.marks else "unexplained"


def _why_decayed(param: ParamInfo) -> str:
    """Return why a parameter that the Trainer leaves out is decayed here."""
    is_matrix = len(param.shape) > 1 and not param.kinds.isdisjoint(("linear", "conv", "embedding"))
    if is_matrix and param.kinds.isdisjoint(("norm", "bias")) and _TRAINERS.search(param.name.lower()):
        return "matrix of a layer whose name contains `bias` or `norm`"
    return "unexplained"


def build(family: str) -> nn.Module:
    """Return an architecture with two layers, or two per stage, on the meta device; nothing is downloaded."""
    from transformers import CONFIG_MAPPING, AutoModel

    config = CONFIG_MAPPING[family]()
    _shrink(config)
    return on_meta(lambda: AutoModel.from_config(config))


def _shrink(config: Any) -> None:
    from transformers import PretrainedConfig

    names = [*vars(config), *getattr(config, "attribute_map", ())]
    for name in names:
        found = getattr(config, name, None)
        if _NUMBERS_OF_LAYERS.match(name) and isinstance(found, int) and found > 2:
            setattr(config, name, 2)
        elif isinstance(found, PretrainedConfig):
            _shrink(found)
    if isinstance(getattr(config, "layer_types", None), list):
        with contextlib.suppress(AttributeError):  # where it is worked out from other keys
            config.layer_types = config.layer_types[: config.num_hidden_layers]


def compared(family: str) -> Compared:
    """Return what is left out of an architecture, here and by the Trainer."""
    from transformers import Trainer

    model = build(family)
    trainer: Any = object()  # the method looks at the model only
    return Compared(model, make_plan(_CONFIG, model), frozenset(Trainer.get_decay_parameter_names(trainer, model)))


def row(family: str, found: Compared) -> str:
    """Return an architecture's row in the table of the docs."""
    parameters = len(found.plan)
    here = sum(not decision.weight_decay for decision in found.plan)
    theirs = sum(decision.name not in found.decayed for decision in found.plan)
    reasons = Counter(why for _, why in found.differing())
    why = "; ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "equal"
    return f"| {family} | {type(found.model).__name__} | {parameters} | {here} | {theirs} | {why} |"


def table() -> str:
    """Return the table of docs/coming-from/huggingface-models.md."""
    head = ["| model type | class | parameters | left out here | by the Trainer | why they differ |"]
    return "\n".join([*head, "|---|---|--:|--:|--:|---|", *(row(family, compared(family)) for family in FAMILIES)])


if __name__ == "__main__":
    print(table())
