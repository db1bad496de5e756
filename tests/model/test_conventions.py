"""Conventions of weight decay: vectors in another shape, and what recipes never decay."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from optimbuild import ParamInfo, inventory
from optimbuild.model.conventions import is_vector
from optimbuild.model.never_decayed import is_never_decayed


def vectors(module: nn.Module) -> set[str]:
    return {param.name for param in inventory(module) if is_vector(param)}


def old(normalize, module: nn.Module, *name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return normalize(module, *name)


class LowRank(nn.Linear):
    """A linear layer with an adapter of rank 1, as loralib's."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.lora_A = nn.Parameter(torch.zeros(1, 4))
        self.lora_B = nn.Parameter(torch.zeros(3, 1))


class Gained(nn.Conv2d):
    """A convolution with a gain per filter, as of NFNet."""

    def __init__(self) -> None:
        super().__init__(4, 3, 1)
        self.gain = nn.Parameter(torch.ones(3, 1, 1, 1))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Conv1d(1, 1, 5), set()),
        (nn.Linear(4, 1), set()),
        (nn.Embedding(1, 4), set()),
        (nn.LSTM(1, 4), set()),
        (nn.MultiheadAttention(4, 1, kdim=1, vdim=1), set()),
        (parametrizations.weight_norm(nn.Conv1d(1, 1, 5)), {"parametrizations.weight.original0"}),
        (parametrizations.weight_norm(nn.Linear(4, 1)), {"parametrizations.weight.original0"}),
        (parametrizations.spectral_norm(nn.Linear(4, 1)), set()),
        (parametrizations.orthogonal(nn.Linear(4, 1)), set()),
        (old(nn.utils.weight_norm, nn.Linear(4, 1)), {"weight_g"}),
        (
            parametrizations.weight_norm(nn.GRU(2, 3), "weight_hh_l0"),
            {"parametrizations.weight_hh_l0.original0"},
        ),
        (old(nn.utils.weight_norm, nn.GRU(2, 3), "weight_hh_l0"), {"weight_hh_l0_g"}),
        (nn.utils.spectral_norm(nn.Linear(4, 1)), set()),
        (prune.random_unstructured(nn.Linear(4, 1), "weight", 1), set()),
        (LowRank(), set()),
        (Gained(), {"gain"}),
        (nn.GroupNorm(1, 4), set()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_matrix_with_one_row_or_one_column_is_no_vector(module, expected):
    assert vectors(module) == expected


@pytest.mark.parametrize(
    "name",
    ["cls_token", "group_token", "detection_tokens", "mid_position_embeddings", "emb_rel_k", "A_log", "query_tokens"],
)
def test_tokens_positions_and_state_matrices_are_never_decayed(name):
    assert is_never_decayed(ParamInfo(f"model.{name}", (1, 4, 8)))
    assert not is_never_decayed(ParamInfo(f"model.{name}.weight", (4, 8)))
