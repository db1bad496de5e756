"""A part of the model of a plan, such as one stage of a pipeline, built under the plan of the whole."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import ConfigError, Inventory, ModelError, Plan, build_optimizer, inventory, make_plan
from optimbuild.checkpoint import names_of, optimizer_state
from tests.properties import examples


class Trunk(nn.Module):
    def __init__(self, blocks: range | list[int] = range(4), ends: str = "both", tied: bool = False) -> None:
        super().__init__()
        if ends in ("both", "first"):
            self.embed = nn.Embedding(7, 4)
        self.blocks = nn.ModuleDict({str(i): nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for i in blocks})
        if ends in ("both", "last"):
            self.norm = nn.LayerNorm(4)
            self.head = nn.Linear(4, 7, bias=not tied)
        if tied and ends == "both":
            self.head.weight = self.embed.weight


CONFIG: dict[str, Any] = {
    "optimizer": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    "rules": [{"type": "no_decay"}, {"type": "layer_decay", "ratio": 0.5}],
}


def settings_of(optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    return {n: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for n in g["param_names"]}


def test_a_stage_gets_what_its_parameters_get_in_the_whole():
    whole = Trunk()
    plan = make_plan(CONFIG, whole)
    expected = settings_of(build_optimizer(CONFIG, whole))
    stages = [Trunk(range(2), "first"), Trunk(range(2, 4), "last")]
    built = [build_optimizer(plan, stage) for stage in stages]
    assert {**settings_of(built[0]), **settings_of(built[1])} == expected
    assert settings_of(built[0])["embed.weight"][0] == 3.125e-05
    for optimizer, stage in zip(built, stages, strict=True):
        assert optimizer.plan == plan
        assert optimizer.plan.fingerprint == plan.fingerprint
        named = dict(stage.named_parameters())
        for group in optimizer.param_groups:
            for name, tensor in zip(group["param_names"], group["params"], strict=True):
                assert named[name] is tensor


def test_the_whole_built_from_its_plan_is_what_its_config_builds():
    model = Trunk()
    ours, again = build_optimizer(make_plan(CONFIG, model), model), build_optimizer(CONFIG, model)
    for one, other in zip(ours.param_groups, again.param_groups, strict=True):
        assert list(one) == list(other)
        assert all(one[key] == other[key] for key in one if key != "params")
        assert list(map(id, one["params"])) == list(map(id, other["params"]))


@settings(max_examples=examples(40), deadline=None)
@given(st.sets(st.sampled_from(range(4)), min_size=1), st.sampled_from(["both", "first", "last", "none"]))
def test_a_random_part_keeps_settings_and_the_order_of_groups(blocks, ends):
    plan = make_plan(CONFIG, Trunk())
    order = [group.options for group in plan.groups]
    built = build_optimizer(plan, Trunk(sorted(blocks), ends))
    for name, (lr, weight_decay) in settings_of(built).items():
        assert (plan[name].lr, plan[name].weight_decay) == (lr, weight_decay)
    places = [order.index({k: g[k] for k in order[0]}) for g in built.param_groups]
    assert places == sorted(set(places))


@pytest.mark.parametrize("source", ["meta", "inventory", "json", "plan.json", "plan.JSON", "plan"])
def test_a_plan_may_come_from_anywhere(source, tmp_path):
    plan = make_plan(CONFIG, Trunk())
    config: Any = plan
    if source == "meta":
        with torch.device("meta"):
            config = make_plan(CONFIG, Trunk())
    elif source == "inventory":
        config = make_plan(CONFIG, Inventory.from_dict(inventory(Trunk()).to_dict()))
    elif source == "json":
        config = Plan.from_json(plan.to_json())
    else:
        config = tmp_path / source
        config.write_text(plan.to_json())
    built = build_optimizer(config, Trunk(range(2), "first"))
    assert settings_of(built)["blocks.0.0.weight"] == (plan["blocks.0.0.weight"].lr, 0.05)
    assert built.plan.fingerprint == plan.fingerprint
    assert {g["fused"] for g in built.param_groups} == {True}


def test_the_implementation_is_chosen_for_the_tensors_of_the_part():
    config = {"optimizer": {"type": "adamw", "lr": 0.1}}
    plan = make_plan(config, nn.ParameterList([torch.zeros(2, 2, device="meta")] * 4))
    part = nn.ParameterList([torch.zeros(2, 2, dtype=torch.complex64)] * 4)
    assert plan.groups[0].implementation == "fused"
    assert build_optimizer(plan, part).param_groups[0]["foreach"] is True


def test_a_compiled_stage_and_its_bare_module_are_the_same_part():
    plan = make_plan(CONFIG, Trunk())
    stage = Trunk(range(2), "first")
    assert settings_of(build_optimizer(plan, torch.compile(stage))) == settings_of(build_optimizer(plan, stage))


def test_parameters_in_another_order_are_in_the_order_of_the_plan():
    plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, Trunk())
    built = build_optimizer(plan, Trunk([3, 1, 0], "first"))
    names = built.param_groups[0]["param_names"]
    assert names == [name for name in plan.inventory.names if name in names]


def test_a_tied_tensor_has_the_name_of_the_whole_on_each_stage():
    plan = make_plan(CONFIG, Trunk(tied=True))
    last = Trunk(range(3, 4), "last", tied=True)
    built = build_optimizer(plan, last)
    (group,) = [group for group in built.param_groups if "embed.weight" in group["param_names"]]
    assert group["params"][group["param_names"].index("embed.weight")] is last.head.weight


def test_a_tied_tensor_that_is_added_later_has_the_name_of_the_whole():
    frozen = {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["embed"]}]}
    last = Trunk([3], "last", tied=True)
    optimizer = build_optimizer(make_plan(frozen, Trunk(tied=True)), last)
    optimizer.add_param_group({"params": last.head.weight.requires_grad_()})
    assert optimizer.param_groups[-1]["param_names"] == ["embed.weight"]
    assert names_of(optimizer, last)[-1] == names_of(optimizer.param_groups, last)[-1] == ["embed.weight"]
    last.head.weight.square().sum().backward()
    optimizer.step()
    assert list(optimizer_state(optimizer)["state"]) == ["embed.weight"]


def test_one_parameter_of_the_plan_that_is_two_in_the_part_is_refused():
    plan = make_plan(CONFIG, Trunk(tied=True))
    two = Trunk(tied=True)
    two.head.weight = nn.Parameter(two.embed.weight.detach().clone())
    with pytest.raises(ModelError, match=r"'embed.weight' and 'head.weight' are one parameter in the plan, and two"):
        build_optimizer(plan, two)


def test_two_parameters_of_the_plan_that_are_one_in_the_part_are_refused():
    plan = make_plan(CONFIG, Trunk())
    tied = Trunk()
    tied.head.weight = tied.embed.weight
    shared = Trunk(range(2), "first")
    shared.blocks["1"] = shared.blocks["0"]
    for part, names in ((tied, ("embed.weight", "head.weight")), (shared, ("blocks.0.0.weight", "blocks.1.0.weight"))):
        with pytest.raises(ModelError, match=f"'{names[0]}' and '{names[1]}' are one parameter in Trunk, and two in"):
            build_optimizer(plan, part)


def test_a_name_that_the_plan_does_not_know_is_refused_with_the_closest():
    plan = make_plan(CONFIG, Trunk())
    part = Trunk(range(2), "first")
    part.heed = nn.Linear(4, 7)
    with pytest.raises(ModelError, match=r"the plan does not know: heed.weight, heed.bias. Closest: head"):
        build_optimizer(plan, part)
    assert all(tensor.requires_grad for tensor in part.parameters())


def test_a_module_without_its_prefix_is_refused_with_how_to_add_it():
    whole = nn.ModuleDict({"model": nn.ModuleDict({"trunk": Trunk()}), "head": nn.Linear(4, 2)})
    plan = make_plan(CONFIG | {"rules": []}, whole)
    with pytest.raises(ModelError) as caught:
        build_optimizer(plan, whole["model"]["trunk"])
    words = "torch.nn.ModuleDict({'model': torch.nn.ModuleDict({'trunk': part})})"
    assert words in str(caught.value)
    built = build_optimizer(plan, eval(words, {"torch": torch, "part": whole["model"]["trunk"]}))
    assert "model.trunk.embed.weight" in settings_of(built)


def test_one_of_several_blocks_without_its_prefix_is_told_them_all():
    whole = Trunk()
    whole.blocks["2"] = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    plan = make_plan(CONFIG, whole)
    with pytest.raises(ModelError) as caught:
        build_optimizer(plan, whole.blocks["3"])
    assert "The plan has such parameters below 'blocks.0', 'blocks.1', 'blocks.3'. If the part is the first" in str(
        caught.value
    )


def test_a_slice_is_told_that_its_numbers_are_not_those_of_the_whole():
    whole = Trunk()
    blocks = nn.Sequential(*whole.blocks.values())
    with pytest.raises(ModelError) as caught:
        build_optimizer(make_plan(CONFIG, whole), blocks[2:4])
    assert "below 'blocks'. If the part is that module, build on torch.nn.ModuleDict" in str(caught.value)
    assert "A slice such as blocks[2:4] counts from 0" in str(caught.value)
    named = nn.ModuleDict({"blocks": nn.ModuleDict({"2": blocks[2], "3": blocks[3]})})
    assert "blocks.2.0.weight" in settings_of(build_optimizer(make_plan(CONFIG, whole), named))


def test_another_shape_than_that_of_the_plan_is_refused():
    plan = make_plan(CONFIG, Trunk())
    part = Trunk(range(2), "last")
    part.head = nn.Linear(4, 9)
    with pytest.raises(ModelError, match=r"'head.weight' has the shape \(9, 4\) in Trunk, and \(7, 4\) in the plan"):
        build_optimizer(plan, part)


FREEZING = {**CONFIG, "rules": [{"type": "freeze", "patterns": ["embed", "blocks.0"]}]}


def test_what_the_plan_freezes_is_frozen_in_the_part():
    part = Trunk(range(2), "first")
    build_optimizer(make_plan(FREEZING, Trunk()), part)
    assert {name for name, tensor in part.named_parameters() if tensor.requires_grad} == {
        f"blocks.1.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")
    }


def test_a_part_that_is_wholly_frozen_is_refused():
    part = Trunk([0], "first")
    with pytest.raises(ModelError, match=r"the plan freezes every parameter of Trunk.* Such a part needs no optim"):
        build_optimizer(make_plan(FREEZING, Trunk()), part)
    assert all(tensor.requires_grad for tensor in part.parameters())


def test_a_parameter_frozen_after_the_plan_was_made_is_refused():
    plan = make_plan(CONFIG, Trunk())
    part = Trunk(range(2), "first")
    part.embed.requires_grad_(False)
    with pytest.raises(ModelError, match=r"the plan trains 'embed.weight', and its requires_grad is False"):
        build_optimizer(plan, part)


def test_overrides_change_a_config_and_no_plan():
    model = Trunk()
    built = build_optimizer(CONFIG, model, overrides=["optimizer.lr=0.5", "rules=[]"])
    assert {group["lr"] for group in built.param_groups} == {0.5}
    with pytest.raises(ConfigError, match="Give them to make_plan"):
        build_optimizer(make_plan(CONFIG, model), model, overrides=["optimizer.lr=0.5"])


def test_an_inventory_is_no_part_that_can_be_built():
    with pytest.raises(ModelError, match=r"must be a torch\.nn\.Module"):
        build_optimizer(make_plan(CONFIG, Trunk()), inventory(Trunk()))


def test_a_plan_as_plain_data_or_text_is_refused_with_what_is_taken():
    plan = make_plan(CONFIG, Trunk())
    for data in (plan.to_dict(), json.loads(plan.to_json())):
        with pytest.raises(ConfigError, match=r"this is a saved plan, .* or Plan\.from_json\(text\)"):
            build_optimizer(data, Trunk())
    with pytest.raises(ConfigError, match=r"not text: .* of a saved plan Plan\.from_json\(text\)"):
        build_optimizer(plan.to_json(), Trunk())


def test_a_saved_plan_is_no_config_that_can_be_planned(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(make_plan(CONFIG, Trunk()).to_json())
    with pytest.raises(ConfigError, match="this is a saved plan, and not the config of one"):
        make_plan(path, Trunk())


def test_a_json_file_that_is_a_config_is_read_as_one(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"optimizer": {"type": "sgd", "lr": 0.25}}')
    assert build_optimizer(path, Trunk()).param_groups[0]["lr"] == 0.25


def test_an_altered_plan_is_refused(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(make_plan(CONFIG, Trunk()).to_json().replace("0.05", "0.5"))
    with pytest.raises(ModelError, match="the plan was altered"):
        build_optimizer(path, Trunk())


def test_stages_train_as_the_whole_does():
    torch.manual_seed(0)
    whole = Trunk()
    plan = make_plan(CONFIG, whole)
    first, last = Trunk(range(2), "first"), Trunk(range(2, 4), "last")
    for stage in (first, last):
        stage.load_state_dict(copy.deepcopy(whole.state_dict()), strict=False)
    optimizers = [build_optimizer(plan, first), build_optimizer(plan, last)]
    single = build_optimizer(CONFIG, whole)
    named = {**dict(first.named_parameters()), **dict(last.named_parameters())}
    for step in range(3):
        for name, tensor in whole.named_parameters():
            tensor.grad = torch.full_like(tensor, 0.1 * (step + 1))
            named[name].grad = tensor.grad.clone()
        for optimizer in (single, *optimizers):
            optimizer.step()
    assert all(torch.equal(tensor, named[name]) for name, tensor in whole.named_parameters())
