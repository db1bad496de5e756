"""Models of timm, one per family: weight decay and LR scales are timm's own, bit for bit."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from torch import nn

from optimbuild import Inventory, inventory, make_plan
from tests.meta import on_meta

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about torch's own modules that timm imports
    timm: Any = pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

NO_DECAY = {
    "type": "no_decay",
    **dict.fromkeys(["norm", "bias", "other_biases", "vectors", "marks", "inner_hints"], False),
}
CONFIG = {
    "optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.05},
    "rules": [NO_DECAY, {"type": "layer_decay", "ratio": 0.75}],
}
FAMILIES = {
    family: min(names, key=lambda name: (len(name), name))
    for family in timm.list_modules()
    if (names := timm.list_models(module=family))
}
HYBRIDS = ("vit_base_r26_s32_224", "vit_large_r50_s32_224", "vit_small_r26_s32_384")
"""Models with a model inside that has a matcher, too."""

MODELS = (*FAMILIES.values(), *HYBRIDS, "caformer_s18", "poolformerv2_s12", "pit_ti_distilled_224")


def built(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return on_meta(lambda: timm.create_model(name))


def timms_own(model: Any) -> dict[str, tuple[float, float]]:
    """Return the LR scale and the weight decay that timm gives each parameter."""
    name_of = {id(tensor): name for name, tensor in model.named_parameters()}
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    groups = param_groups_layer_decay(model, 0.05, no_weight_decay_list=spared, layer_decay=0.75)
    return {name_of[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_timm_gets_timms_own_lr_scales_and_weight_decay(name: str) -> None:
    model = built(name)
    theirs, plan = timms_own(model), make_plan(CONFIG, model)
    assert {d.name: d.weight_decay for d in plan} == {n: weight_decay for n, (_, weight_decay) in theirs.items()}
    has_matcher = hasattr(model, "group_matcher")
    assert has_matcher == ({d.name: d.lr for d in plan} == {n: scale for n, (scale, _) in theirs.items()})
    assert has_matcher != any("timm itself would give other scales" in note for note in plan.notes)


@pytest.mark.parametrize("name", ["caformer_s18", "pit_ti_distilled_224", *HYBRIDS, "edgenext_small"])
def test_the_file_of_a_model_of_timm_gives_the_plan_of_the_model(name: str) -> None:
    model = built(name)
    known = inventory(model)
    known.record()
    from_file = make_plan(CONFIG, Inventory.from_dict(known.to_dict()))
    plan = make_plan(CONFIG, model)
    assert (from_file, from_file.notes, from_file.fingerprint) == (plan, plan.notes, plan.fingerprint)


def test_what_a_module_inside_names_is_not_decayed_unless_switched_off() -> None:
    """The root of EdgeNeXt does not pass on what its attention names."""
    model = built("edgenext_small")
    temperatures = {name for name, _ in model.named_parameters() if name.endswith("temperature")}
    asked = {**CONFIG, "rules": [{**NO_DECAY, "inner_hints": True}]}
    alone = {**CONFIG, "rules": [NO_DECAY]}
    spared = [{d.name for d in make_plan(config, model) if d.weight_decay == 0} for config in (asked, alone)]
    assert temperatures
    assert spared[0] - spared[1] == temperatures
