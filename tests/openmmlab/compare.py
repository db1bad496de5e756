"""Compare plans with what the real constructors of OpenMMLab's packages give, on models built from their own configs.

``python tests/openmmlab/compare.py`` ends with 1 where any parameter differs. ``.ci/openmmlab.txt`` is its environment.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from stand_in import install, on_meta

CONFIGS = (
    ("mmdet", "convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py"),
    ("mmdet", "detr/detr_r50_8xb2-150e_coco.py"),
    ("mmseg", "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py"),
    ("mmseg", "beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py"),
    ("mmseg", "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py"),
    ("mmaction", "recognition/mvit/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb.py"),
    ("mmaction", "recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb.py"),
    ("mmaction", "recognition/tsm/tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb.py"),
    ("mmaction", "recognition/trn/trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv1-rgb.py"),
    ("mmaction", "recognition/swin/swin-small-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py"),
    ("mmpose", "body_2d_keypoint/topdown_heatmap/coco/td-hm_ViTPose-base_8xb64-210e_coco-256x192.py"),
    ("mmpose", "body_2d_keypoint/rtmo/coco/rtmo-m_16xb16-600e_coco-640x640.py"),
    ("mmyolo", "yolov5/yolov5_s-v61_fast_1xb12-40e_cat.py"),
    ("mmyolo", "yolov6/yolov6_m_syncbn_fast_8xb32-300e_coco.py"),
    ("mmyolo", "yolov7/yolov7_l_syncbn_fast_8x16b-300e_coco.py"),
    ("mmyolo", "yolov8/yolov8_s_syncbn_fast_8xb16-500e_coco.py"),
    ("mmpretrain", "barlowtwins/barlowtwins_resnet50_8xb256-coslr-300e_in1k.py"),
    ("mmpretrain", "simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py"),
    ("mmpretrain", "vision_transformer/vit-base-p16_32xb128-mae_in1k.py"),
)
"""Packages and configs that their wheels ship; each constructor is in one of them at least."""

Options = dict[str, Any]


def main() -> int:
    """Compare all models, print a line for each, and return 1 where any differs."""
    install()
    warnings.simplefilter("ignore")
    different = 0
    for package, path in CONFIGS:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # constructors print their groups
                name, count, found = compare(package, path)
        except Exception as error:  # noqa: BLE001  # the others are compared all the same
            name, count, found = path, 0, [f"{type(error).__name__}: {error}"]
        print(f"{package:<11}{name:<43}{count:>5} parameters  {'; '.join(found[:3]) or 'equal'}", flush=True)
        different += bool(found)
    print(f"{len(CONFIGS)} models, {different} different")
    return 1 if different else 0


def compare(package: str, path: str) -> tuple[str, int, list[str]]:
    """Return the constructor of a config, the number of parameters, and what differs."""
    from mmengine.config import Config
    from mmengine.logging import MMLogger
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS, DefaultScope

    from optimbuild import make_plan

    for part in ("models", "engine"):
        importlib.import_module(f"{package}.{part}")
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    home = Path(str(sys.modules[package].__file__)).parent / ".mim" / "configs"
    config = Config.fromfile(home / path)
    scope = config.get("default_scope", package)
    with DefaultScope.overwrite_default_scope(scope), on_meta():
        model = MODELS.build(copy.deepcopy(config.model))
        wrapper = build_optim_wrapper(model, _without_amp(config.optim_wrapper))
    plan = make_plan(str(home / path), model)
    groups = wrapper.optimizer.param_groups
    return config.optim_wrapper.get("constructor", "default"), len(plan), differences(model, groups, plan)


def _without_amp(wrapper: Any) -> Any:
    """Return the config of a wrapper that needs no accelerator; its optimizer is the same."""
    amp = ("loss_scale", "dtype", "use_fp16")
    return type(wrapper)({**{key: value for key, value in wrapper.items() if key not in amp}, "type": "OptimWrapper"})


def differences(model: Any, groups: list[Options], plan: Any) -> list[str]:
    """Return what the published groups and the plan do not have in common."""
    name_of = {id(param): name for name, param in model.named_parameters()}
    trained = {name for name, param in model.named_parameters() if param.requires_grad}
    found = {name_of[id(param)]: group for group in groups for param in group["params"]}
    names = sorted(trained & set(found))
    planned = {decision.name: decision.options for decision in plan if not decision.frozen}
    told = [f"{name} is trained by one only" for name in sorted(set(names) ^ set(planned))]
    for name in names:
        for option in ("lr", "weight_decay", "lars_exclude", "fix_lr"):
            pair = found[name].get(option), planned.get(name, {}).get(option)
            told += [f"{option} of {name}: {pair[0]} and {pair[1]}"] if pair[0] != pair[1] else []
    if any(group.name for group in plan.groups):
        order = [[name_of[id(param)] for param in group["params"] if param.requires_grad] for group in groups]
        told += [] if order == [list(group.params) for group in plan.groups] else ["the groups have another order"]
    return told


if __name__ == "__main__":
    sys.exit(main())
