"""Hints of nested modules, against a naive reading of the sentence that says how they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import Inventory, inventory, make_plan
from tests.properties import examples

RATIO = 0.5
CONFIG = {
    "optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.05},
    "rules": [
        {"type": "no_decay", "optional": True},
        {"type": "layer_decay", "ratio": RATIO, "optional": True},
    ],
}
TENSORS = ("w", "table", "pos")
CHILDREN = ("stem", "blocks", "0", "1", "head")
PIECES = (*TENSORS, *CHILDREN, "0.w", "blocks.1", "absent")


def by_length(layers: int) -> Callable[[str], tuple[int, int]]:
    return lambda name: (len(name) % layers, layers)


@st.composite
def modules(draw: Any, depth: int = 3) -> nn.Module:
    """Draw a module with matrices and modules in it, any of which may have hooks or be frozen."""
    module = nn.Module()
    for name in draw(st.lists(st.sampled_from(TENSORS), unique=True, max_size=2)):
        trained = draw(st.integers(0, 4)) > 0
        setattr(module, name, nn.Parameter(torch.zeros(2, 2), requires_grad=trained))
    for name in draw(st.lists(st.sampled_from(CHILDREN), unique=True, max_size=3 if depth else 0)):
        module.add_module(name, draw(modules(depth - 1)))
    for hook, answer in draw(HOOKS).items():
        setattr(module, hook, answer)
    return module


PLACES = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.sampled_from([r"^stem", r"^blocks\.(\d+)", r"^(\d+)\.", r"^head", "^w", "."]),
    min_size=1,
)
HOOKS = st.fixed_dictionaries(
    {},
    optional={
        "no_weight_decay": st.sets(st.sampled_from(PIECES)).map(lambda names: lambda: names),
        "no_weight_decay_keywords": st.sets(st.sampled_from(PIECES), max_size=1).map(lambda names: lambda: names),
        "lr_decay_keywords": st.dictionaries(st.sampled_from(PIECES), st.integers(0, 5), max_size=3).map(
            lambda powers: lambda ratio: {piece: ratio**power for piece, power in powers.items()}
        ),
        "get_layer_depth": st.integers(1, 4).map(by_length),
        "group_matcher": PLACES.map(lambda places: lambda coarse: places),
    },
) | st.just({})


@st.composite
def models(draw: Any) -> nn.Module:
    """Draw a model in which at least one tensor is trained, and one may have two names."""
    model = draw(modules())
    holders = [module for module in model.modules() if module._parameters]
    model.add_module("last", nn.Linear(2, 2, bias=False))
    if holders and draw(st.booleans()):
        first, second = draw(st.sampled_from(holders)), draw(st.sampled_from(holders))
        second._parameters[next(iter(second._parameters))] = next(iter(first._parameters.values()))
    if not homes(model):
        model.get_layer_depth = by_length(3)
    return model


# --- the naive reading ------------------------------------------------------------------------

TELLING = ("lr_decay_keywords", "get_layer_depth", "group_matcher")


def depth_telling(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Return the modules that tell depths by their paths, and the hook that each is asked."""
    found = {}
    for path, module in model.named_modules():
        hook = next((hook for hook in TELLING if hasattr(module, hook)), None)
        if hook is not None:
            found[f"{path}." if path else ""] = (module, hook)
    return found


def tensors(model: nn.Module) -> Iterator[tuple[list[str], nn.Parameter]]:
    """Yield each tensor once, with all its names."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(tensor, []).append(name)
    yield from ((found, tensor) for tensor, found in names.items())


def own_name(names: list[str], prefix: str) -> str:
    return next(name for name in names if name.startswith(prefix)).removeprefix(prefix)


def spared(model: nn.Module) -> set[str]:
    """Return the first names of what some module names, the union of them all."""
    found = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for names, _ in tensors(model):
            own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
            whole = set(own) & set(getattr(module, "no_weight_decay", set)())
            pieces = [piece for piece in getattr(module, "no_weight_decay_keywords", set)() for o in own if piece in o]
            found |= {names[0]} if whole or pieces else set()
    return found


def place(matcher: dict[str, str], name: str) -> tuple[Any, ...] | None:
    for position, expression in enumerate(matcher.values()):
        if match := re.match(expression, name):
            return (position, *map(float, match.groups()))
    return None


def homes(model: nn.Module) -> dict[str, list[tuple[list[str], nn.Parameter]]]:
    """Return what the nearest module that answers decides; a matcher that places a whole matcher inside goes first."""
    telling = depth_telling(model)
    found: dict[str, list[tuple[list[str], nn.Parameter]]] = {prefix: [] for prefix in telling}
    for names, tensor in tensors(model):
        near = [prefix for prefix in telling if any(name.startswith(prefix) for name in names)]
        if near:
            found[max(near, key=len)].append((names, tensor))
    for prefix in sorted(telling, key=len, reverse=True):
        above = max((p for p in telling if p != prefix and prefix.startswith(p)), key=len, default=None)
        if above is not None and {telling[above][1], telling[prefix][1]} == {"group_matcher"} and found[prefix]:
            matcher = telling[above][0].group_matcher(False)
            if all(place(matcher, own_name(names, above)) is not None for names, _ in found[prefix]):
                found[above] += found.pop(prefix)
    return {prefix: members for prefix, members in found.items() if any(tensor.requires_grad for _, tensor in members)}


def learning_rates(model: nn.Module) -> dict[str, float]:
    """Return the LR of each tensor by its first name; what lies outside of all modules that answer keeps the full."""
    telling = depth_telling(model)
    rates = {names[0]: 1.0 for names, _ in tensors(model)}
    for prefix, members in homes(model).items():
        module, hook = telling[prefix]
        answer: Any = getattr(module, hook)
        if hook == "lr_decay_keywords":
            for names, _ in members:
                own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
                found = [factor for name in own for piece, factor in answer(RATIO).items() if piece in name]
                rates[names[0]] = found[0] if found else 1.0
        elif hook == "get_layer_depth":
            for names, _ in members:
                layer, layers = answer(own_name(names, prefix))
                rates[names[0]] = RATIO ** (layers - 1 - layer)
        else:
            places = {
                names[0]: place(answer(False), own_name(names, prefix)) or (float("inf"),) for names, _ in members
            }
            order = sorted(set(places.values()))
            rates |= {name: RATIO ** (len(order) - 1 - order.index(found)) for name, found in places.items()}
    return rates


@settings(max_examples=examples(300), deadline=None)
@given(models())
def test_hints_of_nested_modules_hold_as_the_naive_reading_says(model: nn.Module) -> None:
    plan = make_plan(CONFIG, model)
    trained = {names[0] for names, tensor in tensors(model) if tensor.requires_grad}
    assert {d.name for d in plan if d.weight_decay == 0} == spared(model) & trained
    assert {d.name: d.lr for d in plan if d.lr is not None} == {
        name: rate for name, rate in learning_rates(model).items() if name in trained
    }
    known = inventory(model)
    known.record([RATIO])
    from_file = make_plan(CONFIG, Inventory.from_dict(known.to_dict()))
    assert (from_file, from_file.notes, from_file.warnings) == (plan, plan.notes, plan.warnings)


class Backbone(nn.Module):
    """A model with hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, 2))
        self.top = nn.Linear(2, 2)

    def no_weight_decay(self) -> set[str]:
        return {"table"}

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        return {"table": 0, "top.weight": 1, "top.bias": 1}[name], 2


class Delegating(nn.Module):
    """A wrapper that passes on what the model inside has, as PEFT's does."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Backbone()
        self.head = nn.Linear(2, 2)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


class Passing(Delegating):
    """A wrapper with the methods of the model inside as its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.no_weight_decay = self.base.no_weight_decay
        self.get_layer_depth = self.base.get_layer_depth


@pytest.mark.parametrize("wrapper", [Delegating, Passing])
def test_hooks_that_a_wrapper_passes_on_are_those_of_the_module_inside(wrapper: type[nn.Module]) -> None:
    plan = make_plan(CONFIG, wrapper())
    assert plan["base.table"].weight_decay == 0
    assert {d.name: d.lr for d in plan} == {
        "base.table": 0.5, "base.top.weight": 1.0, "base.top.bias": 1.0, "head.weight": 1.0, "head.bias": 1.0,
    }  # fmt: skip
    assert not any("match nothing" in note for note in plan.notes)
