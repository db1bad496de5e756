"""The kit finds the fault of each faulty optimizer, and none in those that we ship and those of torch."""

from __future__ import annotations

import importlib

import pytest
import torch

from optimbuild import optimizer
from optimbuild.errors import MissingPackageError
from optimbuild.registry import OPTIMIZERS, find_optimizer
from optimbuild.testing import SparseEmbeddings, check_optimizer
from optimbuild.testing.optimizer_checks import OPTIMIZER_CHECKS
from optimbuild.testing.optimizers import verdicts_on_optimizer

FAULTS = {
    "no_fault": set(),
    "positions": {"state_goes_by_name", "zero_gives_the_same"},
    "counts_on_itself": {"state_goes_through_torch", "state_goes_by_name"},
    "ignores_groups": {"each_group_has_its_own_options", "a_scheduler_counts"},
    "keeps_its_first_lr": {"a_scheduler_counts"},
    "declares_too_little": {"memory_is_as_planned"},
    "global_norm": {"zero_gives_the_same"},
    "needs_gradients": {"a_parameter_without_gradient_stays", "state_goes_by_name"},
    "ignores_closures": {"a_step_returns_the_loss_of_its_closure"},
    "closure_without_gradients": {"a_step_returns_the_loss_of_its_closure"},
    "ascends": {"loss_goes_down"},
    "unloadable": {"state_goes_through_torch", "state_goes_by_name"},
    "noisy": {
        "training_is_deterministic",
        "state_goes_through_torch",
        "state_goes_by_name",
        "zero_gives_the_same",
    },
    "scales_its_lr": {"groups_are_as_planned"},
    "undescribed_lr": {"options_are_described"},
    "percent_lr": {"options_round_trip"},
}
"""By optimizer: the checks that must find its fault. No other may complain."""


TORCHS = sorted(
    name for name, cls in vars(torch.optim).items() if isinstance(cls, type) and cls is not torch.optim.Optimizer
)
OURS = sorted(
    {name for name in OPTIMIZERS.names() if OPTIMIZERS.origin(name).module.startswith("optimbuild.")} - {"LARS", "Lamb"}
)
ONE_GROUP = ("groups_are_as_planned", "each_group_has_its_own_options")
LEAVE_OUT = {
    # takes one group, and keeps in the state of one parameter lists of numbers about all of them
    "LBFGS": (*ONE_GROUP, "state_goes_by_name", "memory_is_as_planned", "zero_gives_the_same"),
    "Rprop": ("a_scheduler_counts",),  # looks at the LR in its first step only
    "SparseAdam": ("memory_is_as_planned",),  # takes no step on the dense tensor by which state is foreseen
}
"""By class of torch: what does not hold for it."""
TASKS = {"SparseAdam": SparseEmbeddings}


@pytest.fixture(autouse=True, scope="module")
def _registered():
    importlib.import_module("tests.testing.faulty_optimizers")
    for name in TORCHS:
        optimizer(f"torch_{name}", f"torch.optim:{name}")


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_of_an_optimizer_is_found(name):
    (verdict,) = verdicts_on_optimizer(name)
    assert {fault.check for fault in verdict.faults} == FAULTS[name], verdict


@pytest.mark.parametrize("name", OURS)
def test_an_optimizer_of_ours_passes(name):
    try:
        find_optimizer(name).load()
    except MissingPackageError as error:  # the oldest torch has no Muon
        pytest.skip(str(error))
    check_optimizer(name, {"lr": 0.01})


@pytest.mark.parametrize("name", TORCHS)
def test_an_optimizer_of_torch_passes(name):
    check_optimizer(f"torch_{name}", {"lr": 0.01}, task=TASKS.get(name), leave_out=LEAVE_OUT.get(name, ()))


def test_each_check_of_an_optimizer_finds_a_planted_fault():
    assert set().union(*FAULTS.values()) == {check.__name__ for check in OPTIMIZER_CHECKS}
