"""No weight decay: its six causes, the reasons it gives, and what touches nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, inventory, make_plan
from optimbuild.model.hints import Hints

NORM = frozenset({"norm"})
PARAMS = (
    ParamInfo("norm.weight", (4, 4), owner="LlamaRMSNorm", kinds=NORM),
    ParamInfo("fc.bias", (4, 4)),
    ParamInfo("gamma", (4,)),
    ParamInfo("logit_scale", ()),
    ParamInfo("pos_embed", (1, 4, 8)),
    ParamInfo("attn.relative_position_bias_table", (3, 3)),
    ParamInfo("cls_token", (1, 2, 8)),
    ParamInfo("attn.abs_pos.table", (3, 3)),
    ParamInfo("fc.weight", (4, 4)),
    ParamInfo("fc.rel_bias", (4, 4)),
)
HOOKS = Hints({"no_weight_decay": ["cls_token"], "no_weight_decay_keywords": ["abs_pos"]})
ALL = {"names": ["pos_embed"], "keywords": ["position_bias"]}
HINTED = "the model's no_weight_decay() names it"
HINTED_KEYWORD = "name contains 'abs_pos', which the model's no_weight_decay_keywords() gives"
CAUSES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "norm": ({"norm": False}, {"norm.weight": "parameter of a normalization layer, LlamaRMSNorm"}),
    "bias": ({"bias": False}, {"fc.bias": "bias"}),
    "one_dimensional": ({"one_dimensional": False}, {"gamma": "one-dimensional", "logit_scale": "one-dimensional"}),
    "names": ({"names": []}, {"pos_embed": "named 'pos_embed' by the rule"}),
    "keywords": ({"keywords": []}, {"attn.relative_position_bias_table": "name contains 'position_bias'"}),
    "hints": ({"hints": False}, {"cls_token": HINTED, "attn.abs_pos.table": HINTED_KEYWORD}),
}


def plan(*params: ParamInfo, hooks: Hints | None = None, **options: Any) -> Plan:
    config = {
        "optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.5},
        "rules": [{"type": "no_decay", **options}],
    }
    return make_plan(config, Inventory(params or PARAMS, HOOKS if hooks is None else hooks, "Net"))


def spared(found: Plan) -> set[str]:
    assert {decision.weight_decay for decision in found} <= {0.0, 0.5}
    assert {decision.lr for decision in found} == {1.0}
    return {decision.name for decision in found if decision.weight_decay == 0.0}


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_of_no_decay_has_its_reason_and_can_be_switched_off(cause: str) -> None:
    off, reasons = CAUSES[cause]
    found, without = plan(**ALL), plan(**{**ALL, **off})
    assert spared(found) - spared(without) == set(reasons)
    for name, reason in reasons.items():
        (step,) = found.explain(name)
        assert (step.rule, step.why, step.before, step.after) == (
            "no_decay",
            reason,
            {"weight_decay": 0.5},
            {"weight_decay": 0.0},
        )


def test_nothing_else_is_spared() -> None:
    assert {param.name for param in PARAMS} - spared(plan(**ALL)) == {"fc.weight", "fc.rel_bias"}
    assert plan(**ALL).explain("fc.weight") == ()


def test_the_first_of_several_causes_is_the_reason() -> None:
    bias = ParamInfo("norm.bias", (4,), owner="LayerNorm", kinds=NORM | {"bias"})
    hooks = Hints({"no_weight_decay": ["norm.bias"], "no_weight_decay_keywords": ["norm"]})
    more: dict[str, Any] = {"names": ["norm.bias"], "keywords": ["bias"]}
    reasons = []
    for off in ({}, {"norm": False}, {"bias": False}, {"one_dimensional": False}, {"names": []}, {"keywords": []}):
        more |= off
        reasons.append(plan(bias, hooks=hooks, **more).explain("norm.bias")[0].why)
    assert reasons == [
        "parameter of a normalization layer, LayerNorm",
        "bias",
        "one-dimensional",
        "named 'norm.bias' by the rule",
        "name contains 'bias'",
        HINTED,
    ]


class ScaleNorm(nn.Module):
    """A norm that descends from none of torch's, with weights of two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4, 4))


def test_norms_of_real_modules_are_found_by_the_type_of_their_owner() -> None:
    model = nn.ModuleDict(
        {
            "a": nn.LayerNorm((4, 4)),
            "b": nn.BatchNorm2d(4),
            "c": nn.RMSNorm((4, 4)),
            "d": nn.GroupNorm(2, 4),
            "e": nn.InstanceNorm1d(4, affine=True),
            "f": ScaleNorm(),
            "norm": nn.Linear(4, 4),
        }
    )
    rule = {"type": "no_decay", "bias": False, "one_dimensional": False}
    found = make_plan({"optimizer": {"type": "adamw", "weight_decay": 0.5}, "rules": [rule]}, model)
    assert {d.name for d in found if d.weight_decay == 0.5} == {"norm.weight", "norm.bias"}


def test_the_bias_of_a_model_that_is_one_layer_is_a_bias() -> None:
    assert spared(plan(ParamInfo("weight", (4, 4)), ParamInfo("bias", (4, 4)), one_dimensional=False)) == {"bias"}


@pytest.mark.parametrize("options", [{"names": ["twin.bias"]}, {"keywords": ["twin"]}, {}])
def test_an_alias_counts_as_well(options: dict[str, Any]) -> None:
    tied = ParamInfo("embed.weight", (4, 4), aliases=("twin.bias",))
    options = options and {**options, "bias": False}
    assert spared(plan(tied, ParamInfo("fc.weight", (4, 4)), **options)) == {"embed.weight"}
    assert spared(plan(tied, ParamInfo("fc.weight", (4, 4)), bias=False, optional=True)) == set()


@pytest.mark.parametrize("kind", ["names", "keywords"])
def test_a_name_or_keyword_without_match_is_an_error_despite_other_matches(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^rules\[0\]\.{kind}\[1\]: 'pos_embd' matches no parameter.*pos_embed"):
        plan(**{kind: ["pos_embed", "pos_embd"]})


def test_names_are_whole_and_keywords_are_pieces() -> None:
    with pytest.raises(ConfigError, match=r"names\[0\]: 'pos' matches no parameter"):
        plan(names=["pos"])
    assert "pos_embed" in spared(plan(keywords=["pos"]))


def test_a_name_that_is_spared_anyway_is_no_error() -> None:
    assert plan(names=["norm.weight"], keywords=["gamma"]).warnings == ()


def test_hints_about_parameters_that_are_not_there_are_no_error() -> None:
    hooks = Hints({"no_weight_decay": ["dist_token"], "no_weight_decay_keywords": ["absent"]})
    assert plan(hooks=hooks).warnings == ()


def test_hints_that_are_switched_off_are_not_asked_for() -> None:
    def raises() -> list[str]:
        raise AssertionError

    live = {"no_weight_decay": raises, "no_weight_decay_keywords": raises}
    assert "cls_token" not in spared(plan(hooks=Hints(live=live), hints=False))


@pytest.mark.parametrize(
    ("options", "where"),
    [({"keywords": [""]}, ".keywords[0]"), ({"norm": "perhaps"}, ".norm"), ({"name": ["a"]}, "")],
)
def test_a_wrong_option_is_an_error_with_its_path(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(**options)
    assert caught.value.path == f"rules[0]{where}"


# --- other shapes and names -------------------------------------------------------------------

STRANGE = (
    ParamInfo("experts.gate_up_proj_bias", (4, 8), kinds=frozenset({"bias"}), evidence={"bias": "it is called so"}),
    ParamInfo("grn.gamma", (1, 1, 1, 8)),
    ParamInfo("fc.weight", (1, 8), owner="Linear", bases=("Linear",), kinds=frozenset({"linear"})),
    ParamInfo("conv.weight", (1, 1, 3), owner="Conv1d", bases=("Conv1d",), kinds=frozenset({"conv"})),
    ParamInfo("types.weight", (1, 8), owner="Embedding", bases=("Embedding",), kinds=frozenset({"embedding"})),
    ParamInfo("conv.parametrizations.weight.original0", (8, 1, 1), kinds=frozenset({"conv"})),
    ParamInfo("pos_embed", (1, 5, 8)),
)


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        ({}, {"experts.gate_up_proj_bias", "grn.gamma", "conv.parametrizations.weight.original0"}),
        ({"other_biases": False}, {"grn.gamma", "conv.parametrizations.weight.original0"}),
        ({"vectors": False}, {"experts.gate_up_proj_bias"}),
    ],
)
def test_biases_by_another_name_and_vectors_are_spared(off: dict[str, Any], expected: set[str]) -> None:
    assert spared(plan(*STRANGE, **off, optional=True)) == expected


def test_what_is_new_in_this_release_is_told_with_its_switches() -> None:
    (note,) = [note for note in plan(*STRANGE).notes if "since 0.2" in note]
    assert note.startswith(
        "no_decay: no longer decayed since 0.2 (switches: other_biases, vectors, marks, inner_hints): "
    )
    assert "experts.gate_up_proj_bias, grn.gamma" in note


def test_what_recipes_never_decay_and_this_plan_does_is_told() -> None:
    (note,) = [note for note in plan(*STRANGE).notes if "recipes" in note]
    assert note == "no_decay: decayed, though recipes for such models leave them out (see `names`): pos_embed"


class Hinting(nn.Module):
    """A backbone that knows what shall not decay."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.table = nn.Parameter(torch.zeros(3, 3))
        self.fc = nn.Linear(4, 4)

    def no_weight_decay(self) -> set[str]:
        return {"pos_embed", "not_there"}

    def no_weight_decay_keywords(self) -> list[str]:
        return ["tabl", "nor_there"]


class Detector(nn.Module):
    """A model around a backbone, which has a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Hinting()
        self.neck = nn.ModuleDict({"table": nn.Linear(4, 4)})


def test_hints_of_an_inner_module_hold_below_it() -> None:
    rule = {"type": "no_decay"}
    found = make_plan({"optimizer": {"type": "adamw", "lr": 1.0, "weight_decay": 0.5}, "rules": [rule]}, Detector())
    decayed = {d.name for d in found if d.weight_decay}
    assert decayed == {"backbone.fc.weight", "neck.table.weight"}
    assert found.explain("backbone.pos_embed")[0].why == "backbone's no_weight_decay() names it"
    idle = "no_decay: hints of the model that match nothing: backbone.not_there, backbone.*nor_there*"
    assert idle in found.notes


def test_an_inventory_file_carries_the_hints_of_inner_modules() -> None:
    config = {"optimizer": {"type": "adamw", "weight_decay": 0.5}, "rules": [{"type": "no_decay"}]}
    found = inventory(Detector())
    found.hints.record(found.names)
    again = Inventory.from_dict(json.loads(json.dumps(found.to_dict())))
    assert make_plan(config, again).fingerprint == make_plan(config, Detector()).fingerprint
    assert make_plan(config, again).notes == make_plan(config, Detector()).notes


TABLES = (ParamInfo("pos_embed", (1, 4, 8)), ParamInfo("cls_token", (1, 1, 8)), ParamInfo("head.weight", (4, 4)))


def notes_beside(*rules: dict[str, Any], weight_decay: float = 0.5, hooks: Hints | None = None) -> tuple[str, ...]:
    optimizer = {"type": "adamw", "lr": 1.0, "weight_decay": weight_decay}
    config = {"optimizer": optimizer, "rules": [{"type": "no_decay"}, *rules]}
    return make_plan(config, Inventory(TABLES, hooks or Hints(), "Net")).notes


DECAYED = "no_decay: decayed, though recipes for such models leave them out (see `names`): pos_embed"
SPARED = "no_decay: no longer decayed since 0.2 (switches: other_biases, vectors, marks, inner_hints): cls_token"


def test_what_recipes_leave_out_and_what_is_new_are_noted_once():
    assert notes_beside() == (DECAYED, SPARED)
    assert notes_beside({"type": "no_decay"})[-1:] == (DECAYED,)


@pytest.mark.parametrize("rule", [
    {"type": "freeze", "patterns": ["pos_embed"]},
    {"type": "no_decay", "names": ["pos_embed"]},
    {"type": "match", "table": {"pos_embed": {"weight_decay": 0.0}}},
])  # fmt: skip
def test_no_note_calls_a_parameter_decayed_that_another_rule_spares(rule: dict[str, Any]) -> None:
    assert DECAYED not in notes_beside(rule)


def test_without_weight_decay_no_note_speaks_of_it():
    assert notes_beside(weight_decay=0.0) == ()


def test_a_hint_is_the_reason_before_the_causes_of_0_2():
    hinted = Hints({"no_weight_decay": ["cls_token"]})
    assert notes_beside(hooks=hinted) == (DECAYED,)


def test_as_published_builders_only_one_dimension_and_the_first_name_count() -> None:
    scalar = ParamInfo("scale", ())
    tied = ParamInfo("head.weight", (4, 4), aliases=("norm.bias",))
    both = {"keywords": ("norm",), "optional": True}
    assert spared(plan(scalar, tied, **both)) == {"scale", "head.weight"}
    published = {**both, "decay_scalars": True, "first_names": True}
    assert spared(plan(scalar, tied, ParamInfo("norm.weight", (4, 4)), **published)) == {"norm.weight"}
