"""DDP that was wrapped around a model before parts of it were frozen."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from optimbuild.messages import warn


def expect_no_gradients_of_frozen(model: nn.Module) -> None:
    """Let DDP wait for the gradients of trainable parameters only.

    DDP lists at its construction which parameters get gradients, and at the second step it fails if one of them got
    none. Runners wrap a model before they build its optimizer, so that list holds what the plan then freezes. DDP
    makes the list anew when it is unpickled, which has no public name but ``__setstate__``.

    Args:
        model: Any module; only the DDP modules in it change.
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
            warn(
                f"DDP still waits for the gradients of parameters that are frozen now: {error}. Build the optimizer "
                "before you wrap the model, or give DDP find_unused_parameters=True"
            )
            continue
        module.__setstate__(state)  # type: ignore[no-untyped-call]
