"""The optimizers of the golden cases, group by group as the published builder made them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.golden_cases import CASES, CONSTRUCTORS, golden_inventory, module_of

TAKEN = {"AdamW": ("betas", "eps"), "SGD": ("momentum", "dampening", "nesterov")}

MADE = [name for name, case in CASES.items() if "params" in case]
"""The cases in which a published builder made an optimizer."""

CONSTRUCTED = [n for n, case in CONSTRUCTORS.items() if case.get("optimizer", {}).get("cls") in TAKEN]
"""The cases in which a published constructor of OpenMMLab or InternImage made an optimizer of torch."""

TEN = (
    "internimage_cascade_l_3x_small", "internvl_upernet_6b", "mmaction2_mvit_s_layer_wise", "mmdet_detr_r50",
    "mmdet_mask_rcnn_convnext_t_layer_wise", "mmdet_rtmdet_tiny", "mmpose_vitpose_small", "mmseg_beit_b_layer_decay",
    "mmseg_swin_t_upernet", "mmyolo_yolov5_s",
)  # fmt: skip
"""Those that run with every test; the others take longer together."""

ALL = [*MADE, *[n if n in TEN else pytest.param(n, marks=pytest.mark.slow) for n in CONSTRUCTED]]


def published(name: str) -> tuple[torch.optim.Optimizer, nn.Module]:
    """Return the optimizer of a golden case, one group for each parameter, and its model on the meta device."""
    case: dict[str, Any] = CASES.get(name) or CONSTRUCTORS[name]
    model = module_of(golden_inventory(case["model"]))
    tensors = dict(model.named_parameters())
    for frozen in case["frozen"]:
        tensors[frozen].requires_grad_(False)
    groups = [{"params": [tensors[p["name"]]], **p} for p in case["params"]]
    made, defaults = case["optimizer"]["cls"], case["optimizer"].get("defaults", {})
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in defaults.items() if key in TAKEN[made]}
    return getattr(torch.optim, made)(groups, lr=1.0, **given), model
