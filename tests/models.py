"""Small real modules that several tests plan and build."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """A residual block with a norm, an attention and an MLP."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.attn(self.norm(x)))


class Net(nn.Module):
    """A stem with a batch norm, numbered blocks, a norm and a head."""

    def __init__(self, depth: int = 3, width: int = 8) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.stem = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x) + self.pos_embed[0]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Tied(nn.Module):
    """A language model in miniature: the head shares the embedding's tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.layers = nn.ModuleList([Block() for _ in range(2)])
        self.lm_head = nn.Linear(8, 16, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(x)


CONFIG = {
    "optimizer": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    "rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}],
}
