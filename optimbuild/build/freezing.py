"""Freezing the parameters that a plan freezes."""

from __future__ import annotations

from optimbuild.build.ddp import expect_no_gradients_of_frozen
from optimbuild.model.survey import Surveyed
from optimbuild.plan.plan import Plan


def freeze(plan: Plan, surveyed: Surveyed) -> None:
    """Set ``requires_grad`` of the frozen parameters to False.

    Args:
        plan: A plan of the surveyed module.
        surveyed: The module, with its tensors.
    """
    frozen = [setting.frozen for setting in plan.settings]
    pairs = zip(plan.chosen, surveyed.tensors, strict=True) if any(frozen) else ()
    trained = [tensor for setting, tensor in pairs if frozen[setting] and tensor.requires_grad]
    for tensor in trained:
        tensor.requires_grad_(False)
    if trained:
        expect_no_gradients_of_frozen(surveyed.model)
