"""Small models of many forms, with which rules are tried."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Block(nn.Module):
    """A residual block: norm, attention, MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class LanguageModel(nn.Module):
    """Numbered blocks between an embedding and a head that is tied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList([Block(4) for _ in range(2)])
        self.norm = nn.RMSNorm(4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight


class Stage(nn.Module):
    """A stage of a vision model: a depthwise and a deformable convolution, and batch norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.dcn = nn.ModuleDict({"offset": nn.Linear(width, 2), "input_proj": nn.Linear(width, width)})


class VisionModel(nn.Module):
    """Tokens, a patch embedding and numbered levels, with all of the methods that published models have."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.patch_embed = nn.Conv2d(3, 4, 2, stride=2)
        self.levels = nn.ModuleList([nn.ModuleDict({"blocks": nn.ModuleList([Stage(4)])}) for _ in range(2)])
        self.backbone = nn.Linear(4, 4)
        self.head = nn.Linear(4, 10)

    def no_weight_decay(self) -> set[str]:
        """Name the tokens, as models of timm do."""
        return {"cls_token", "pos_embed"}

    def no_weight_decay_keywords(self) -> set[str]:
        """Name a piece of names, as Swin does."""
        return {"offset"}

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        """Give each level its LR factor, as InternImage does."""
        return {"patch_embed": ratio**2, "levels.0.": ratio**2, "levels.1.": ratio}

    def get_layer_depth(self, name: str, prefix: str = "") -> tuple[int, int]:
        """Return the layer of a parameter and the number of layers, as models of MMPretrain do."""
        name = name.removeprefix(prefix)
        layer = int(name.split(".")[1]) + 1 if name.startswith("levels.") else 3 * name.startswith(("backbone", "head"))
        return layer, 4


class StrangeModel(nn.Module):
    """What real models have now and then, and what rules are seldom written for."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.none = nn.Parameter(torch.zeros(0, 3))
        self.wave = nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))
        self.bf16 = nn.Linear(2, 2, dtype=torch.bfloat16)
        self.list = nn.ParameterList([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 1, 1, 1, 1, 1))])
        self.table = nn.ParameterDict({"größe-1": nn.Parameter(torch.zeros(3, 3))})
        self.parametrized = weight_norm(nn.Linear(3, 3))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.marked = nn.Linear(2, 2)
        self.marked.weight._no_weight_decay = True  # type: ignore[attr-defined]
        self.marked.bias._optim = {"weight_decay": 0.0}  # type: ignore[attr-defined]


class OneNumber(nn.Module):
    """The smallest model: one number, and its name has no dot."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(0.0))


class AllFrozen(nn.Module):
    """A model in which nothing is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2).requires_grad_(False)


MODELS = (LanguageModel, VisionModel, StrangeModel, OneNumber, AllFrozen)
"""The classes of the models."""
