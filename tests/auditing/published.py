"""The optimizers of the golden cases, group by group as the published builder made them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.golden_cases import CASES, golden_inventory, module_of

MADE = [name for name, case in CASES.items() if "params" in case]
"""The cases in which a published builder made an optimizer."""

TAKEN = {"AdamW": ("betas", "eps"), "SGD": ("momentum", "dampening", "nesterov")}


def published(name: str) -> tuple[torch.optim.Optimizer, nn.Module]:
    """Return the optimizer of a golden case, one group for each parameter, and its model on the meta device."""
    case: dict[str, Any] = CASES[name]
    model = module_of(golden_inventory(case["model"]))
    tensors = dict(model.named_parameters())
    for frozen in case["frozen"]:
        tensors[frozen].requires_grad_(False)
    groups = [{"params": [tensors[p["name"]]], **p} for p in case["params"]]
    made, defaults = case["optimizer"]["cls"], case["optimizer"].get("defaults", {})
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in defaults.items() if key in TAKEN[made]}
    return getattr(torch.optim, made)(groups, lr=1.0, **given), model
