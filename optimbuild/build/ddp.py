"""DDP that was wrapped around a model before parts of it were frozen."""

from __future__ import annotations

import warnings

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from optimbuild.errors import OptimBuildWarning


def expect_no_gradients_of_frozen(model: nn.Module) -> None:
    """Have DDP wait for the gradients of what is still trainable, and of nothing else.

    DDP notes at its construction which parameters have gradients, and at the second step it fails over one that got
    none. Runners wrap a model before they build its optimizer, so what a plan freezes is noted already. What
    DDP does when it is unpickled makes it look again.

    Args:
        model: Any module; those inside that are no DDP stay as they are.
    """
    for module in model.modules():
        if not isinstance(module, DistributedDataParallel) or not hasattr(module, "reducer"):
            continue
        if not any(param.requires_grad for param in module.module.parameters()):
            module.require_backward_grad_sync = False
            continue
        try:
            state = module.__getstate__()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            warnings.warn(
                f"DDP still waits for the gradients of parameters that are frozen now: {error}. Build the optimizer "
                "before you wrap the model, or give DDP find_unused_parameters=True",
                OptimBuildWarning,
                stacklevel=3,
            )
            continue
        module.__setstate__(state)  # type: ignore[no-untyped-call]
