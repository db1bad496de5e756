"""Containers between a module and its tensors: parametrizations, weight norm, lists and dictionaries keep the kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from optimbuild import Inventory, inventory, make_plan
from tests.properties import examples

CONFIG = {"optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.05}, "rules": [{"type": "no_decay"}]}


class Doubled(nn.Module):
    """A parametrization with one original."""

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return 2 * tensor


class Scaled(nn.Module):
    """A parametrization with a matrix of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def doubled(module: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(module, "weight", Doubled())


def old(normalize: Callable[..., Any]) -> Callable[[nn.Module], nn.Module]:
    def normalized(module: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            found: nn.Module = normalize(module)
        return found

    return normalized


LAYERS = st.sampled_from(
    [
        lambda a, b: nn.Linear(a, b),
        lambda a, b: nn.Conv1d(a, b, 3),
        lambda a, b: nn.Conv2d(a, a, 3, groups=a),
        lambda a, b: nn.ConvTranspose1d(a, b, 3),
    ]
)
WRAPPERS = st.sampled_from(
    [
        doubled,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        old(nn.utils.weight_norm),
        nn.utils.spectral_norm,
        lambda module: prune.random_unstructured(module, "weight", 0),
        lambda module: doubled(doubled(module)),
        lambda module: doubled(parametrizations.weight_norm(module)),
    ]
)


@settings(max_examples=examples(120), deadline=None)
@given(LAYERS, WRAPPERS, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_parametrizations_keep_the_kinds_of_a_layer(make: Any, wrap: Any, a: int, b: int, nested: bool) -> None:
    plain, wrapped = inventory(make(a, b)), wrap(make(a, b))
    found = inventory(nn.Sequential(wrapped) if nested else wrapped)
    bias = next(param for param in plain if param.name == "bias")
    weight = next(param for param in plain if param.name == "weight")
    plan = make_plan(CONFIG, found)
    assert Inventory.from_dict(found.to_dict()).params == found.params
    for param in found:
        is_bias = param.name.rpartition(".")[2] == "bias"
        assert param.kinds == (bias if is_bias else weight).kinds, param
        assert (param.owner, param.bases) == (weight.owner, weight.bases)
        is_magnitude = param.name.endswith(("original0", "weight_g"))
        assert bool(plan[param.name].weight_decay) == (not is_bias and not is_magnitude), param


def test_layers_inside_a_parametrization_are_what_they_are() -> None:
    module = parametrize.register_parametrization(nn.Conv1d(2, 2, 1), "weight", Scaled(2))
    found = {param.name: param for param in inventory(module)}
    assert found["parametrizations.weight.original"].kinds == {"conv"}
    assert found["parametrizations.weight.0.inner.weight"].kinds == {"linear"}
    assert found["parametrizations.weight.0.inner.bias"].kinds == {"linear", "bias"}


ROLES = st.sampled_from(["weight", "bias", "biases", "w_bias", "gain", "table"])


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from([nn.Linear, nn.Module]), ROLES, st.booleans(), st.integers(1, 3), st.integers(0, 2))
def test_lists_and_dictionaries_of_parameters_are_read_as_one(
    base: Any, role: str, named: bool, count: int, depth: int
) -> None:
    class Holder(base):  # type: ignore[misc]
        pass

    tensors = [nn.Parameter(torch.zeros(1, 2)) for _ in range(count)]
    alone, inside = (Holder(2, 2, bias=False) if base is nn.Linear else Holder() for _ in range(2))
    for holder in (alone, inside):
        holder._parameters.pop(role, None)
    setattr(alone, role, tensors[0])
    container: Any = (
        nn.ParameterDict({f"k{i}": t for i, t in enumerate(tensors)}) if named else nn.ParameterList(tensors)
    )
    inside.__dict__.pop(role, None)
    inside.add_module(role, container)
    for _ in range(depth):
        alone, inside = nn.Sequential(alone), nn.Sequential(inside)
    expected = next(param for param in inventory(alone) if param.name.endswith(role))
    found = [param for param in inventory(inside) if f"{role}." in param.name]
    assert len(found) == count
    for param in found:
        assert (param.kinds, param.owner, param.bases) == (expected.kinds, expected.owner, expected.bases), param
        assert is_spared(inside, param.name) == is_spared(alone, expected.name), param


def is_spared(model: nn.Module, name: str) -> bool:
    rules = [{"type": "no_decay", "optional": True}]
    return make_plan({**CONFIG, "rules": rules}, model)[name].weight_decay == 0


class Experts(nn.Module):
    """Parameters in a dictionary, some of them biases."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"w1": (8, 4, 4), "w1_bias": (8, 4), "bias": (8, 4)}
        self.experts = nn.ParameterDict({name: nn.Parameter(torch.zeros(*shape)) for name, shape in shapes.items()})


def test_a_bias_in_a_dictionary_is_one_also_in_a_file_without_kinds() -> None:
    found = inventory(Experts())
    assert {param.name: set(param.kinds) for param in found} == {
        "experts.w1": set(), "experts.w1_bias": {"bias"}, "experts.bias": {"bias"},
    }  # fmt: skip
    data = found.to_dict()
    for row in data["params"]:
        row.pop("kinds")
        row.pop("evidence", None)
    assert Inventory.from_dict(data) == found
    assert make_plan(CONFIG, Inventory.from_dict(data)) == make_plan(CONFIG, found)


class Gains(nn.LayerNorm):
    """A norm with gains in a dictionary."""

    def __init__(self) -> None:
        super().__init__(4)
        self.gains = nn.ParameterDict({"a": nn.Parameter(torch.ones(4)), "b": nn.Parameter(torch.ones(4))})


def test_mmengine_takes_no_dictionary_for_the_norm_around_it() -> None:
    model = nn.Sequential(Gains())
    optimizer = {"type": "AdamW", "lr": 1.0, "weight_decay": 0.5}
    keys = {"norm_decay_mult": 0.0}
    built = build_optim_wrapper(model, {"optimizer": optimizer, "paramwise_cfg": keys}).optimizer
    theirs = {id(tensor): group["weight_decay"] for group in built.param_groups for tensor in group["params"]}
    ours = make_plan({"optimizer": optimizer, "rules": [{"type": "paramwise", **keys}]}, model)
    assert {d.name: d.weight_decay for d in ours} == {n: theirs[id(tensor)] for n, tensor in model.named_parameters()}
