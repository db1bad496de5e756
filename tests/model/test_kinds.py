"""What a parameter is, by its name and the class that owns it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optimbuild import inventory


def kinds(module: nn.Module) -> dict[str, set[str]]:
    return {param.name: set(param.kinds) for param in inventory(module)}


class RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 2))


class LlamaRMSNorm(RMSNorm):
    pass


class LayerNorm2d(nn.LayerNorm):
    pass


class Scaled(nn.GroupNorm):
    """A norm by descent only."""


class NormalizedLinear(nn.Linear):
    """No norm, whatever its name begins with."""


class DCNv3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.ones(2, 2))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(2, 2), {"weight": {"linear"}, "bias": {"linear", "bias"}}),
        (nn.BatchNorm2d(2), {"weight": {"norm"}, "bias": {"norm", "bias"}}),
        (RMSNorm(), {"scale": {"norm"}}),
        (LlamaRMSNorm(), {"scale": {"norm"}}),
        (LayerNorm2d(2), {"weight": {"norm"}, "bias": {"norm", "bias"}}),
        (Scaled(1, 2), {"weight": {"norm"}, "bias": {"norm", "bias"}}),
        (nn.RMSNorm(2), {"weight": {"norm"}}),
        (NormalizedLinear(2, 2), {"weight": {"linear"}, "bias": {"linear", "bias"}}),
        (nn.Embedding(3, 2), {"weight": {"embedding"}}),
        (nn.EmbeddingBag(3, 2), {"weight": {"embedding"}}),
        (nn.Conv2d(4, 4, 3), {"weight": {"conv"}, "bias": {"conv", "bias"}}),
        (nn.Conv2d(4, 4, 3, groups=4), {"weight": {"conv", "depthwise"}, "bias": {"conv", "depthwise", "bias"}}),
        (nn.Conv1d(4, 4, 3, groups=2), {"weight": {"conv"}, "bias": {"conv", "bias"}}),
        (nn.ConvTranspose2d(4, 1, 3), {"weight": {"conv"}, "bias": {"conv", "bias"}}),
        (DCNv3(), {"mask": {"deformable"}}),
        (nn.LSTM(2, 2, bias=False), {"weight_ih_l0": set(), "weight_hh_l0": set()}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_the_kinds_of_a_parameter_come_from_its_owner_and_its_name(module, expected):
    assert kinds(module) == expected


class CosineLinearNorm(nn.Linear):
    """A linear layer whose class name ends in Norm."""


class AdaptiveNorm(nn.Module):
    """A norm by its name that has a matrix beside its gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2, 2))
        self.proj_weight = nn.Parameter(torch.ones(2, 2))


class FilterResponseNormTlu2d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tau = nn.Parameter(torch.ones(4))


class EvoNorm2dB0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.v = nn.Parameter(torch.ones(1, 4, 1, 1))


class SpectralNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, shape in {"weight": (4, 4, 3, 3), "W": (4, 8), "centroids": (64, 8), "weight_g": (4, 1)}.items():
            self.register_parameter(name, nn.Parameter(torch.ones(*shape)))


class Camel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.outBias = nn.Parameter(torch.ones(2, 2))
        self.unbiased = nn.Parameter(torch.ones(2, 2))


class Tables(nn.Module):
    """Tables of biases by relative position: of T5, and of LayoutLM; and a layer that computes a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(3, 2)
        self.rel_pos_x_bias = nn.Linear(3, 2, bias=False)
        self.pair_bias = nn.Linear(3, 2, bias=False)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (CosineLinearNorm(2, 2), {"weight": {"linear"}, "bias": {"linear", "bias"}}),
        (AdaptiveNorm(), {"gain": {"norm"}, "proj_weight": set()}),
        (FilterResponseNormTlu2d(), {"tau": {"norm"}}),
        (EvoNorm2dB0(), {"weight": {"norm"}, "v": {"norm"}}),
        (SpectralNorm(), {"weight": set(), "W": set(), "centroids": set(), "weight_g": {"norm"}}),
        (Camel(), {"outBias": {"bias"}, "unbiased": set()}),
        (
            Tables(),
            {
                "relative_attention_bias.weight": {"embedding", "bias"},
                "rel_pos_x_bias.weight": {"linear", "bias"},
                "pair_bias.weight": {"linear"},
            },
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_kind_is_what_a_tensor_is_and_not_what_its_owner_is_called(module, expected):
    assert kinds(module) == expected
