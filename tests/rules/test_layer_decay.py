"""Layer decay: where depths come from, and what they make of the learning rate."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from optimbuild import ConfigError, Inventory, ModelError, ParamInfo, Plan, make_plan
from optimbuild.model.hints import Hints
from tests.models import Net

INVENTORIES = Path(__file__).parent.parent.parent / "configs" / "inventories"
NAMES = (
    "stem.weight",
    "blocks.0.fc.weight",
    "blocks.0.fc.bias",
    "blocks.1.fc.weight",
    "blocks.1.fc.bias",
    "head.weight",
)


def inventory_of(*names: str, hooks: Hints | None = None) -> Inventory:
    return Inventory(tuple(ParamInfo(name, (2, 2)) for name in names or NAMES), hooks or Hints(), "Net")


def plan(model: Any = None, ratio: float = 0.5, **options: Any) -> Plan:
    rule = {"type": "layer_decay", "ratio": ratio, **options}
    return make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [rule]}, model or inventory_of())


def distances(found: Plan) -> list[int]:
    """Return how far from the top each parameter is, of a plan with the ratio 0.5."""
    scales = {0.5**distance: distance for distance in range(50)}
    return [scales[decision.lr] for decision in found if decision.lr is not None]


# --- what is asked, in order -----------------------------------------------------------------

LIVE: dict[str, Any] = {
    "lr_decay_keywords": lambda ratio: dict.fromkeys(NAMES, ratio**7),
    "get_layer_depth": lambda name: (2, 9),
    "group_matcher": lambda coarse: {"all": ".*"},
}
SOURCES = {
    "lr_decay_keywords": ([7] * 6, "the model's lr_decay_keywords(0.5)"),
    "get_layer_depth": ([6] * 6, "the model's get_layer_depth(name)"),
    "group_matcher": ([0] * 6, "the model's group_matcher()"),
    "names": ([3, 2, 2, 1, 1, 0], "names: 4 layers around blocks.{n}"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_model_is_asked_in_order_and_the_plan_names_the_answers_source(source: str) -> None:
    order = list(SOURCES)
    live = {hook: answer for hook, answer in LIVE.items() if order.index(hook) >= order.index(source)}
    found = plan(inventory_of(hooks=Hints(live=live)))
    expected, where = SOURCES[source]
    assert distances(found) == expected
    assert found.notes[0].startswith(f"layer_decay: depths from {where}")
    assert found.warnings == ()


def test_layers_by_hand_are_taken_without_asking_the_model() -> None:
    found = plan(inventory_of(hooks=Hints(live=LIVE)), layers=["stem", "blocks", "head"])
    assert distances(found) == [2, 1, 1, 1, 1, 0]
    assert found.notes == ("layer_decay: depths from `layers` of the config",)


def test_the_hooks_of_a_real_module_are_asked() -> None:
    class Deep(Net):
        def get_layer_depth(self, name: str) -> tuple[int, int]:
            return (int(name.split(".")[1]) + 1 if name.startswith("blocks") else 0, 5)

    found = plan(Deep())
    assert (found["pos_embed"].lr, found["blocks.2.attn.weight"].lr) == (0.5**4, 0.5)
    assert found.explain("blocks.2.attn.weight")[0].why == "layer 3 of 5, 1 from the top"


# --- lr_decay_keywords -----------------------------------------------------------------------


def test_the_first_keyword_that_is_a_piece_of_the_name_counts() -> None:
    hooks = Hints({"lr_decay_keywords": {"0.5": {"blocks.1": 0.5, "blocks.10": 0.3, "norm": 0.2, "blocks": 0.1}}})
    found = plan(inventory_of("blocks.10.norm", "blocks.2.norm", "blocks.2.fc", "norm", hooks=hooks))
    assert [decision.lr for decision in found] == [0.5, 0.2, 0.1, 0.2]
    assert found.explain("norm")[0].why == "lr_decay_keywords gives 'norm': 0.2"


def answers(name: str) -> dict[str, dict[str, float]]:
    recorded = json.loads((INVENTORIES / f"{name}.json").read_text("utf-8"))["hooks"]["lr_decay_keywords"]
    return {ratio: dict(factors) for ratio, factors in recorded.items()}


def knowing(**by_ratio: dict[str, float]) -> Hints:
    return Hints.from_dict({"hooks": {"lr_decay_keywords": by_ratio}})


@pytest.mark.parametrize(("known", "asked"), [("0.9", "0.875"), ("0.875", "0.9")])
def test_the_powers_in_a_file_for_one_ratio_answer_for_another_ratio(known: str, asked: str) -> None:
    recorded = answers("internimage_l")
    derived = knowing(**{known: recorded[known]}).lr_decay_keywords(float(asked))
    assert list(derived.items()) == list(recorded[asked].items())


@pytest.mark.parametrize(
    ("name", "ratio", "other"),
    [
        ("internimage_h", "0.875", "internvit_6b"),
        ("internimage_t", "0.9", "internimage_h"),
        ("internvit_6b", "0.9", "internimage_h"),
        ("internvit_6b_frozen", "0.9", "internimage_h"),
    ],
)
def test_derived_factors_are_those_that_another_model_was_measured_to_give(name: str, ratio: str, other: str) -> None:
    assert ratio not in answers(name)
    derived = knowing(**answers(name)).lr_decay_keywords(float(ratio))
    assert len(set(derived.values())) > 25
    assert set(derived.values()) <= {1.0, *answers(other)[ratio].values()}
    (known,) = answers(name).values()
    assert sorted(derived, key=derived.__getitem__) == sorted(known, key=known.__getitem__)


def test_a_plan_says_that_its_factors_were_derived() -> None:
    model = Inventory.read(INVENTORIES / "internimage_l.json")
    assert plan(model, 0.9).notes[0] == "layer_decay: depths from the model's lr_decay_keywords(0.9)"
    assert plan(model, 0.5).notes[:1] == (
        "layer_decay: depths from the model's lr_decay_keywords(0.5), by the powers it gave for another",
    )


STEP_BY_STEP = 0.7 * 0.7 * 0.7 * 0.7


@pytest.mark.parametrize(
    "known",
    [
        {"0.5": {"a": 0.25, "b": 0.3}},
        {"0.5": {"a": 0.25, "b": 0.0}},
        {"0.7": {"a": STEP_BY_STEP}},  # the last bit is another one than that of 0.7**4
        {"0.5": {"a": 0.5}, "0.25": {"a": 0.5}},  # a constant
        {"0.5": {"a": 0.5}, "0.9": {"a": 0.81}},  # other powers for another ratio
        {"0.5": {"a": 0.5}, "0.9": {"b": 0.9}},
        {"0.5": {"a": 0.5}, "0.9": {}},
        {"1.0": {"a": 1.0}},
        {"0.0": {"a": 0.0}},
        {"-0.5": {"a": 0.25}},
        {"nan": {"a": 0.5}},
        {"half": {"a": 0.5}},
        {"2.0": {"a": 1.7976931348623157e308}},
        {"0.5": {"a": 2.0**900}},
        {"0.5": {}},
        {},
    ],
)
def test_what_are_no_powers_are_not_made_up(known: dict[str, dict[str, float]]) -> None:
    assert STEP_BY_STEP != 0.7**4
    with pytest.raises(ModelError, match=r"does not know what lr_decay_keywords\(1e-05\) answers.*--ratio 1e-05"):
        plan(inventory_of("a.weight", "b.weight", hooks=knowing(**known)), 1e-5)


def test_a_model_that_can_be_asked_is_asked_for_every_ratio() -> None:
    hooks = Hints({"lr_decay_keywords": {"0.5": {"stem": 0.5}}}, {"lr_decay_keywords": lambda ratio: {"stem": 0.75}})
    assert hooks.lr_decay_keywords(0.5) == {"stem": 0.5}
    assert hooks.lr_decay_keywords(0.25) == {"stem": 0.75}


# --- group_matcher, which tests/rules/test_depths.py compares with timm -----------------------


MATCHERS: dict[str, Any] = {
    "as a ViT of timm's": {"stem": r"^pos_embed|stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))]},
    "norm and head of their own": {"stem": r"^pos_embed|stem", "blocks": r"^blocks\.(\d+)", "norm": "norm"},
    "two numbers": {"stem": "^pos_embed|^stem", "parts": r"^blocks\.(\d+)\.mlp\.(\d+)", "blocks": r"^blocks\.(\d+)"},
    "a callable": lambda name: int(name.split(".")[1]) + 1 if name.startswith("blocks") else 0,
}
PLACES = {
    "as a ViT of timm's": {
        "pos_embed": 4, "stem": 4, "blocks.0": 3, "blocks.1": 2, "blocks.2": 1, "norm": 1, "head": 0
    },
    "norm and head of their own": {
        "pos_embed": 5, "stem": 5, "blocks.0": 4, "blocks.1": 3, "blocks.2": 2, "norm": 1, "head": 0
    },
    "two numbers": {
        "pos_embed": 10, "stem": 10, "blocks.0.mlp.0": 9, "blocks.0.mlp.2": 8, "blocks.1.mlp.0": 7, "blocks.1.mlp.2": 6,
        "blocks.2.mlp.0": 5, "blocks.2.mlp.2": 4, "blocks.0": 3, "blocks.1": 2, "blocks.2": 1, "norm": 0, "head": 0,
    },
    "a callable": {"pos_embed": 3, "stem": 3, "blocks.0": 2, "blocks.1": 1, "blocks.2": 0, "norm": 3, "head": 3},
}  # fmt: skip


class Matched(Net):
    """A model with timm's hook."""

    def __init__(self, matcher: Any) -> None:
        super().__init__()
        self.matcher = matcher

    def group_matcher(self, coarse: bool = False) -> Any:
        assert not coarse
        return self.matcher


@pytest.mark.parametrize("form", MATCHERS)
def test_the_groups_of_a_matcher_are_ordered(form: str) -> None:
    found = plan(Matched(MATCHERS[form]))
    for decision in found:
        longest = max((p for p in PLACES[form] if f"{decision.name}.".startswith(f"{p}.")), key=len)
        assert decision.lr == 0.5 ** PLACES[form][longest]


# --- by hand, the depths of which tests/rules/test_depths.py looks at -------------------------

STAGED = (
    "stem.w", "stages.0.blocks.0.w", "stages.0.blocks.10.w", "stages.0.blocks.2.w", "stages.0.down.w",
    "stages.1.blocks.0.w", "stages.1.down.w", "head.w",
)  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        # a pattern is one layer
        (["stem", "stages", "head"], [2, 1, 1, 1, 1, 1, 1, 0]),
        # {n} is one layer an index
        (["stem", "stages.{n}", "head"], [3, 2, 2, 2, 2, 1, 1, 0]),
        # nested, in the order of the numbers; what is left of a stage has a pattern of its own
        (["stem", "stages.{n}.blocks.{n}", ["stages.*.down", "head"]], [5, 4, 2, 3, 0, 1, 0, 0]),
        # the first entry that matches counts
        (["stem", "stages.0.blocks.2", "stages.{n}", "head"], [4, 2, 2, 3, 2, 1, 1, 0]),
        # the last layer is the top, whatever it is
        (["head", "stages", "stem"], [0, 1, 1, 1, 1, 1, 1, 2]),
    ],
)
def test_layers_by_hand_lie_from_input_to_output(layers: list[Any], expected: list[int]) -> None:
    found = plan(inventory_of(*STAGED), layers=layers)
    assert distances(found) == expected
    assert found.warnings == ()


def test_what_no_layer_claims_keeps_the_full_lr_and_is_named_in_a_warning() -> None:
    found = plan(layers=["stem", "blocks.{n}"])
    assert [decision.lr for decision in found] == [0.25, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert found.warnings == (
        "rules[0] (layer_decay): no layer claims these parameters, so they keep the full LR: head.weight",
    )
    assert found.explain("head.weight") == ()
    hooks = Hints({"lr_decay_keywords": {"0.5": {"stem": 0.5, "blocks": 0.25}}})
    assert plan(inventory_of(hooks=hooks)).warnings == found.warnings


def test_an_entry_that_claims_nothing_is_an_error_that_shows_what_is_close() -> None:
    with pytest.raises(ConfigError, match=r"^rules\[0\]\.layers\[1\]: 'block\.\{n\}' matches no.*Closest: blocks"):
        plan(layers=["stem", "block.{n}", "head"])


def test_an_entry_that_earlier_ones_leave_nothing_is_a_warning() -> None:
    model = Inventory((ParamInfo("stem.w", (4,)), ParamInfo("blocks.0.w", (4,)), ParamInfo("head.w", (4,))))
    layers = ["stem", "blocks", "blocks.0", "head"]
    assert plan(model, layers=layers).warnings == (
        "rules[0] (layer_decay): layers[2] ('blocks.0') does nothing: layers[1] takes all that it matches",
    )


def test_an_entry_that_only_an_alias_matches_is_told_where_it_is_taken() -> None:
    model = Inventory((ParamInfo("embed.w", (2, 2), aliases=("head.w",)), ParamInfo("body.w", (2, 2))))
    for entry, where in (("head", "layers[2]"), (["head", "body"], "layers[2][0]")):
        first, *_ = plan(model, layers=["embed", "body", entry]).warnings
        assert first == f"rules[0] (layer_decay): {where} ('head') does nothing: layers[0] takes all that it matches"


def test_an_alias_is_claimed_as_well() -> None:
    tied = Inventory((ParamInfo("embed.w", (2, 2), aliases=("head.w",)), ParamInfo("body.w", (2, 2))))
    found = plan(tied, layers=["body", "head"])
    assert distances(found) == [0, 1]
    assert found.notes[1:] == ("layer_decay: 'head' selects tensors that have other names too: embed.w = head.w",)
    hooks = Hints({"lr_decay_keywords": {"0.5": {"head": 0.25}}})
    assert distances(plan(Inventory(tied.params, hooks))) == [2, 0]


# --- the learning rate -----------------------------------------------------------------------


def test_the_factor_is_the_ratio_to_the_power_of_the_distance() -> None:
    found = plan(ratio=0.7)
    assert [decision.lr for decision in found] == [0.7**3, 0.7**2, 0.7**2, 0.7, 0.7, 1.0]
    assert [[step.why for step in found.explain(name)] for name in NAMES[:2]] == [
        ["layer 0 of 4, 3 from the top"],
        ["layer 1 of 4, 2 from the top"],
    ]


def test_no_factor_is_below_the_lowest_one() -> None:
    assert [decision.lr for decision in plan(min_scale=0.3)] == [0.3, 0.3, 0.3, 0.5, 0.5, 1.0]
    hooks = Hints({"lr_decay_keywords": {"0.5": {"stem": 0.125, "blocks": 0.5}}})
    assert [decision.lr for decision in plan(inventory_of(hooks=hooks), min_scale=0.3)] == [
        0.3,
        0.5,
        0.5,
        0.5,
        0.5,
        1.0,
    ]


def test_a_ratio_of_one_changes_nothing() -> None:
    assert {decision.lr for decision in plan(ratio=1)} == {1.0}


def test_weight_decay_is_left_alone() -> None:
    assert len({decision.weight_decay for decision in plan()}) == 1


@pytest.mark.parametrize(
    ("options", "where"),
    [
        *(({"ratio": ratio}, "ratio") for ratio in (0, -0.5, 1.5, float("nan"), float("inf"), "half", None)),
        *(({"min_scale": scale}, "min_scale") for scale in (-0.1, 1.1, float("nan"))),
        *(({"layers": layers}, "layers") for layers in ("blocks", [], [[]], {}, None, 3)),
        ({"layers": {"blocks": 1}}, "layers.blocks"),
        ({"layers": ["stem", "b..c"]}, "layers[1]"),
        ({"layers": ["stem", ["norm", "re:("]]}, "layers[1][1]"),
        ({"layers": ["stem", 3]}, "layers[1]"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_path(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(**options)
    assert caught.value.path == f"rules[0].{where}"


# --- parts of a model that answer -------------------------------------------------------------


class Backbone(torch.nn.Module):
    """A model of four blocks that tells its own depths."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(4, 4)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(blocks)])

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        count = len(self.blocks) + 1
        return (int(name.split(".")[1]) + 1 if name.startswith("blocks") else 0), count


class Keywords(Backbone):
    """The same, in InternImage's way, with a keyword that no parameter has."""

    get_layer_depth = None  # type: ignore[assignment]

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        factors = {f"blocks.{i}.": ratio ** (len(self.blocks) - 1 - i) for i in range(len(self.blocks))}
        return {**factors, "stem": ratio ** len(self.blocks), "nowhere": 1.0}


class Around(torch.nn.Module):
    """A detector around a backbone."""

    def __init__(self, backbone: torch.nn.Module, teacher: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = torch.nn.Linear(4, 2)
        if teacher is not None:
            self.teacher = teacher.requires_grad_(False)


def lrs_of(model: torch.nn.Module, **options: Any) -> dict[str, float]:
    config = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [{"type": "layer_decay", "ratio": 0.5, **options}]}
    return {decision.name: decision.lr for decision in make_plan(config, model) if decision.name.endswith("weight")}


HALVED = {f"backbone.blocks.{i}.weight": 0.5 ** (3 - i) for i in range(4)} | {"backbone.stem.weight": 0.5**4}


@pytest.mark.parametrize("cls", [Backbone, Keywords])
def test_an_inner_module_tells_the_depths_of_what_is_below_it(cls: type) -> None:
    assert lrs_of(Around(cls())) == {**HALVED, "head.weight": 1.0}


@pytest.mark.parametrize("cls", [Backbone, Keywords])
def test_the_plan_says_which_part_answered_and_what_is_outside(cls: type) -> None:
    config = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [{"type": "layer_decay", "ratio": 0.5}]}
    plan = make_plan(config, Around(cls()))
    assert plan.notes[0].startswith("layer_decay: depths from backbone's ")
    assert "layer_decay: outside of backbone, at the full LR: head.weight, head.bias" in plan.notes
    idle = "layer_decay: lr_decay_keywords of backbone gives keywords that match nothing: nowhere"
    assert (idle in plan.notes) == (cls is Keywords)
    assert plan.warnings == ()


def test_two_parts_that_answer_have_their_own_depths() -> None:
    model = torch.nn.ModuleDict({"image": Backbone(4), "text": Backbone(2)})
    found = lrs_of(model)
    assert [found[f"image.blocks.{i}.weight"] for i in range(4)] == [0.125, 0.25, 0.5, 1.0]
    assert [found[f"text.blocks.{i}.weight"] for i in range(2)] == [0.5, 1.0]


def test_a_frozen_part_does_not_answer() -> None:
    found = lrs_of(Around(Backbone(), teacher=Backbone(9)))
    assert {name: lr for name, lr in found.items() if "teacher" not in name} == {**HALVED, "head.weight": 1.0}


def test_the_nearest_module_that_answers_decides() -> None:
    class Outer(Around):
        def get_layer_depth(self, name: str) -> tuple[int, int]:
            return (1 if name.startswith("head") else 0), 3

    assert lrs_of(Outer(Backbone())) == {**HALVED, "head.weight": 0.5}


def test_a_matcher_that_places_an_inner_model_decides_for_it() -> None:
    class Inner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

        def group_matcher(self, coarse: bool = False) -> dict[str, str]:
            return {"stem": "^a", "blocks": "^b"}

    class Hybrid(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch_embed, self.head = Inner(), torch.nn.Linear(2, 2)

        def group_matcher(self, coarse: bool = False) -> dict[str, str]:
            return {"stem": "^patch_embed", "head": "^head"}

    assert lrs_of(Hybrid()) == {"patch_embed.a.weight": 0.5, "patch_embed.b.weight": 0.5, "head.weight": 1.0}


# --- two rules, two towers --------------------------------------------------------------------


class Tower(torch.nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(3, 4)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(blocks)])


class Clip(torch.nn.Module):
    """Two towers without hooks, and a scale that belongs to neither."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.ones(()))
        self.vision, self.text = Tower(6), Tower(4)


def towers(*rules: dict[str, Any]) -> Plan:
    return make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": list(rules)}, Clip())


def test_both_forms_that_the_error_offers_are_right_when_pasted() -> None:
    with pytest.raises(ConfigError) as caught:
        towers({"type": "layer_decay", "ratio": 0.75})
    blocks = re.findall(r"(?:^ .*\n?)+", str(caught.value), re.MULTILINE)
    parallel, stacked = (yaml.safe_load(textwrap.dedent(block)) for block in blocks)
    side_by_side = towers(*parallel)
    for tower, depth in (("vision", 6), ("text", 4)):
        for i in range(depth):
            assert side_by_side[f"{tower}.blocks.{i}.weight"].lr == 0.75 ** (depth - 1 - i)
        assert side_by_side[f"{tower}.embed.weight"].lr == 0.75**depth
    one_after_the_other = towers({"type": "layer_decay", "ratio": 0.75, **stacked})
    assert one_after_the_other["text.blocks.3.weight"].lr == 1.0
    assert one_after_the_other["vision.blocks.0.weight"].lr == 0.75 ** (4 + 1 + 5)
    for plan in (side_by_side, one_after_the_other):
        assert plan["logit_scale"].lr == 1.0
        assert all(warning.endswith("so they keep the full LR: logit_scale") for warning in plan.warnings)


def test_two_rules_do_not_warn_of_what_the_other_one_claims() -> None:
    rules = [
        {"type": "layer_decay", "ratio": 0.75, "layers": [f"{tower}.embed", f"{tower}.blocks.{{n}}"]}
        for tower in ("vision", "text")
    ]
    freeze = {"type": "freeze", "patterns": ["logit_scale"]}
    assert towers(*rules, freeze).warnings == ()


# --- what no evidence places ------------------------------------------------------------------


class Vit(torch.nn.Module):
    """A ViT of twelve blocks, and what losses and prototypes add in front of it."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.ones(()))
        self.log_vars = torch.nn.Parameter(torch.zeros(3))
        self.prototypes = torch.nn.Linear(4, 9, bias=False)
        self.cls_token = torch.nn.Parameter(torch.zeros(1, 1, 4))
        self.patch_embed = torch.nn.Conv2d(3, 4, 2)
        self.norm_pre = torch.nn.LayerNorm(4)
        self.blocks = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(4, 4)) for _ in range(12)])
        self.head = torch.nn.Linear(4, 2)


def test_what_no_evidence_places_keeps_the_full_lr_and_is_named() -> None:
    config = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [{"type": "layer_decay", "ratio": 0.75}]}
    plan = make_plan(config, Vit())
    stem = ("cls_token", "patch_embed.weight", "patch_embed.bias", "norm_pre.weight", "norm_pre.bias")
    assert {plan[name].lr for name in stem} == {0.75**13}
    unplaced = ("logit_scale", "log_vars", "prototypes.weight")
    assert {plan[name].lr for name in unplaced} == {1.0}
    (warning,) = plan.warnings
    told = "no layer claims these parameters, so they keep the full LR (since 0.2; before, that of the first layer)"
    assert warning == f"rules[0] (layer_decay): {told}: {', '.join(unplaced)}"
    assert not any("logit_scale" in note for note in plan.notes)  # once is enough


def test_frozen_parameters_make_no_layers_and_are_not_unclaimed() -> None:
    model = Vit()
    for part in (model.logit_scale, model.log_vars, model.prototypes.weight):
        part.requires_grad_(False)
    model.blocks[:4].requires_grad_(False)
    model.cls_token.requires_grad_(False)
    model.patch_embed.requires_grad_(False)
    model.norm_pre.requires_grad_(False)
    config = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [{"type": "layer_decay", "ratio": 0.75}]}
    plan = make_plan(config, model)
    assert plan.warnings == ()
    assert [plan[f"blocks.{i}.0.weight"].lr for i in range(4, 12)] == [0.75 ** (12 - i) for i in range(4, 12)]


def test_a_head_that_the_config_freezes_leaves_the_count_as_it_was() -> None:
    decay, freeze = {"type": "layer_decay", "ratio": 0.75}, {"type": "freeze", "patterns": ["head"]}
    config = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [decay, freeze]}
    assert make_plan(config, Vit())["blocks.11.0.weight"].lr == 0.75


# --- InternImage's levels --------------------------------------------------------------------

LEVELS = (
    "backbone.patch_embed.conv1.weight",
    *[
        f"backbone.levels.{i}.blocks.{j}.{p}.weight"
        for i in range(3)
        for j in range(2)
        for p in ("dcn", "mlp", "norm1")
    ],
    *[f"backbone.levels.{i}.downsample.conv.weight" for i in range(2)],
    "backbone.levels.2.norm.weight",
    "head.weight",
)


def in_order(names: tuple[str, ...]) -> list[str]:
    """Return names in the order of a model: the parts of a level together."""
    level = [name.split(".")[2] if ".levels." in name else "" for name in names]
    return [names[0], *[n for each in "012" for n, found in zip(names, level, strict=True) if found == each], names[-1]]


def test_where_internimages_own_depths_differ_is_noted() -> None:
    model = inventory_of(*in_order(LEVELS))
    note = next(note for note in plan(model).notes if "InternImage" in note)
    assert "`layers: internimage` with `depths: [2, 2, 2]`" in note
    own = plan(model, layers="internimage", depths=[2, 2, 2])
    differing = [d.name for d, o in zip(plan(model), own, strict=True) if d.lr != o.lr]
    assert differing == [*[n for n in in_order(LEVELS) if ".downsample." in n], "backbone.levels.2.norm.weight"]
    assert note.partition("layer: ")[2] == ", ".join(differing)


def test_a_model_of_another_family_has_no_such_note() -> None:
    assert not any("InternImage" in note for note in plan().notes)


def test_ambiguous_names_around_internimages_levels_lead_to_its_table() -> None:
    others = [f"neck.layers.{i}.{p}.weight" for i in range(9) for p in ("a", "b", "c", "d")]
    with pytest.raises(ConfigError, match=r"`layers: internimage` with `depths: \[2, 2, 2\]`"):
        plan(inventory_of(*in_order(LEVELS)[:-1], *others))
