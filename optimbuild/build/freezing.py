"""Freezing what a plan freezes, and keeping the statistics of batch norms."""

from __future__ import annotations

from functools import partial

from torch import nn

from optimbuild.build.ddp import expect_no_gradients_of_frozen
from optimbuild.model.survey import Surveyed
from optimbuild.plan.plan import Plan


def freeze(plan: Plan, surveyed: Surveyed) -> None:
    """Set ``requires_grad`` of frozen parameters to False, and keep batch norms in eval mode where asked."""
    frozen = [setting.frozen for setting in plan.settings]
    pairs = zip(plan.chosen, surveyed.tensors, strict=True) if any(frozen) else ()
    thawed = [tensor for setting, tensor in pairs if frozen[setting] and tensor.requires_grad]
    for tensor in thawed:
        tensor.requires_grad_(False)
    if thawed:
        expect_no_gradients_of_frozen(surveyed.model)
    modules = surveyed.modules if plan.kept_statistics else {}
    for name in plan.kept_statistics:
        module = modules[name]
        module.train = partial(_stay_in_eval, module)  # type: ignore[assignment, method-assign]
        module.train()


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for ``train`` of a batch norm that must not update its statistics, whatever the mode."""
    del mode
    module.training = False
    return module
