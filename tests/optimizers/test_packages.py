"""Optimizers of other packages do what they do without us, and every name in a package's own list can be planned."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import build_optimizer, make_plan
from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.errors import MissingPackageError
from optimbuild.registry import OPTIMIZERS, find_optimizer
from optimbuild.registry.packages import PACKAGES

OPTIMIZERS.names()

NAMES = (
    "torch.RAdam",
    "lion_pytorch.Lion",
    "schedulefree.AdamWScheduleFree",
    "schedulefree.SGDScheduleFree",
    "prodigyopt.Prodigy",
    "optimi.Adan",
    "optimi.Lion",
    "pytorch_optimizer.AdaBelief",
    "pytorch_optimizer.ADOPT",
    "pytorch_optimizer.Lamb",
    "heavyball.SOAP",
    "timm.lion",
    "timm.lamb",
    "timm.sgd",
)

NEED_MORE = {
    "torch": {"LBFGS", "Muon", "SparseAdam"} & set(dir(torch.optim)),  # the oldest has no Muon
    "pytorch_optimizer": {
        *("AliG", "LBFGS"),  # a closure
        *("AdaHessian", "SophiaH"),  # a gradient of the gradient
        *("AdaGO", "AdaMuon", "DistributedMuon", "Muon", "MuonClip", "NorMuon"),  # `use_muon` in each group
        *("BSAM", "Ranger21"),  # an option without a default
        *("DeMo", "SpectralSphere"),  # a process group, matrices only
    },
    "optimi": {"StableAdamW"},  # where Triton is installed, but no GPU
    "lion_pytorch": set[str](),
    "prodigyopt": set[str](),
    "schedulefree": {"AdamWScheduleFreeClosure", "RAdamScheduleFreeClosure", "SGDScheduleFreeClosure"},
    "timm": {"adahessian"},  # a gradient of the gradient
    "heavyball": {"PSGDLRA", "SAMWrapper"},  # fails in the package; wraps another optimizer
}
"""Names that take no step on a small model, with an LR, on a CPU, with the gradients of ``backward`` alone."""


def module(prefix: str) -> None:
    """Skip where a package is not installed beside this torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own modules that packages import
        try:
            PACKAGES[prefix].names()
        except MissingPackageError as error:
            pytest.skip(str(error))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(5, 6)).square().sum().backward()
        with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
            warnings.simplefilter("ignore")
            if hasattr(optimizer, "train"):
                optimizer.train()
            optimizer.step()


def config(name: str) -> dict[str, Any]:
    return {"optimizer": {"type": name, "lr": 0.01, "weight_decay": 0.1}, "rules": [{"type": "no_decay"}]}


def by_hand(name: str, model: nn.Module) -> torch.optim.Optimizer:
    kind = find_optimizer(name)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    switch = {"foreach": False} if len(kind.implementations) > 1 else {}
    return kind(groups, lr=0.01, weight_decay=0.1, **switch)


@pytest.mark.parametrize("name", NAMES)
def test_a_built_optimizer_steps_as_one_that_is_made_by_hand(name: str) -> None:
    module(name.partition(".")[0])
    ours, theirs = net(), net()
    kernel = {"implementation": "for-loop"} if len(find_optimizer(name).implementations) > 1 else {}
    built = build_optimizer({**config(name), **kernel}, ours)
    made = by_hand(name, theirs)
    assert isinstance(built, find_optimizer(name).load())
    train(ours, built, range(5))
    train(theirs, made, range(5))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def nbytes(state: Any) -> int:
    """Return the bytes of the tensors in a state, which may be nested."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return sum(map(nbytes, values))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("heavyball.")])
def test_the_memory_of_a_plan_is_what_the_optimizer_keeps(name: str) -> None:
    module(name.partition(".")[0])
    model = net()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)  # Prodigy keeps less for tensors of zeros, which a plan cannot know
    optimizer = build_optimizer(config(name), model)
    train(model, optimizer, range(1))
    held = sum(nbytes(state) for state in optimizer.state.values())
    assert make_plan(config(name), net()).memory().largest.state == held > 0


RESUMED = ("torch.RAdam", "lion_pytorch.Lion", "schedulefree.AdamWScheduleFree", "optimi.AdamW", "timm.lion")


@pytest.mark.parametrize("name", RESUMED)
def test_an_optimizer_of_a_package_resumes_bit_for_bit(name: str) -> None:
    module(name.partition(".")[0])
    whole, half = net(), net()
    optimizer = build_optimizer(config(name), whole)
    train(whole, optimizer, range(3))
    half.load_state_dict(whole.state_dict())
    resumed = build_optimizer(config(name), half)
    load_optimizer_state(resumed, optimizer_state(optimizer), options="checkpoint")
    train(whole, optimizer, range(3, 6))
    train(half, resumed, range(3, 6))
    for mine, other in zip(half.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("prefix", NEED_MORE)
def test_every_optimizer_in_a_packages_list_is_built_and_steps(prefix: str) -> None:
    module(prefix)
    failed = set()
    warnings.simplefilter("ignore")  # pytest puts the filters back
    for name in PACKAGES[prefix].names():
        model = net()
        try:
            train(model, build_optimizer({"optimizer": {"type": f"{prefix}.{name}", "lr": 0.01}}, model), range(1))
        except Exception:  # noqa: BLE001  # each package raises its own
            failed.add(name)
    depends = {"StableAdamW"} if prefix == "optimi" else set()  # on Triton
    assert failed - depends == NEED_MORE[prefix] - depends
