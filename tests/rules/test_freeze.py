"""Freezing by patterns and levels, and keeping the statistics of norms."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from optimbuild import ConfigError, Inventory, ParamInfo, Plan, build_optimizer, make_plan
from tests.models import Net

NAMES = (
    "patch_embed.proj.weight",
    "patch_embed.norm.weight",
    "patch_embed2.proj.weight",
    "backbone.levels.0.fc.weight",
    "backbone.levels.1.fc.weight",
    "backbone.levels.10.fc.weight",
    "backbone.sublevels.1.fc.weight",
    "levels.1",
    "head.weight",
)
MODEL = Inventory(tuple(ParamInfo(name, (2, 2)) for name in NAMES), model="Net")


def plan(*rules: dict[str, Any], model: Inventory = MODEL) -> Plan:
    return make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": list(rules)}, model)


def frozen(**options: Any) -> list[str]:
    return list(plan({"type": "freeze", **options}).frozen)


def test_a_level_is_two_segments_of_a_name_and_level_1_is_not_level_10() -> None:
    assert frozen(levels=[1]) == ["backbone.levels.1.fc.weight", "levels.1"]
    assert frozen(levels=[0, 10]) == ["backbone.levels.0.fc.weight", "backbone.levels.10.fc.weight"]


def test_a_pattern_of_a_module_covers_everything_below_it_and_no_more() -> None:
    assert frozen(patterns=["patch_embed"]) == ["patch_embed.proj.weight", "patch_embed.norm.weight"]
    assert frozen(patterns=["backbone.levels.1"]) == ["backbone.levels.1.fc.weight"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("head.weight", ["head.weight"]),
        ("patch_embed*", list(NAMES[:3])),
        ("*.levels", list(NAMES[3:6])),
        ("**.norm", ["patch_embed.norm.weight"]),
        (r"re:levels\.1\.", ["backbone.levels.1.fc.weight", "backbone.sublevels.1.fc.weight"]),
    ],
)
def test_patterns_are_globs_and_regular_expressions(pattern: str, expected: list[str]) -> None:
    assert frozen(patterns=[pattern]) == expected


def test_patterns_and_levels_add_up_and_each_step_says_which_it_was() -> None:
    rule = {"type": "freeze", "patterns": ["patch_embed", "**.norm", "head"], "levels": [0]}
    found = plan(rule)
    assert set(found.frozen) == {*NAMES[:2], NAMES[3], "head.weight"}
    reasons = {name: [step.why for step in found.explain(name)] for name in found.frozen}
    assert reasons == {
        "patch_embed.proj.weight": ["pattern 'patch_embed'"],
        "patch_embed.norm.weight": ["pattern 'patch_embed'"],
        "backbone.levels.0.fc.weight": ["pattern '**.levels.0'"],
        "head.weight": ["pattern 'head'"],
    }


def test_a_frozen_parameter_has_no_options_and_is_in_no_group() -> None:
    found = plan({"type": "freeze", "levels": [1]})
    assert (found["levels.1"].frozen, found["levels.1"].lr, found["levels.1"].weight_decay) == (True, None, None)
    assert "levels.1" not in [name for group in found.groups for name in group.params]


def test_freezing_is_final_whatever_the_order_of_the_rules() -> None:
    freeze, thaw = {"type": "freeze", "patterns": ["head"]}, {"type": "match", "table": {"**": {"freeze": False}}}
    assert plan(freeze, thaw).frozen == plan(thaw, freeze).frozen == ("head.weight",)


def test_an_alias_counts_as_well() -> None:
    tied = Inventory((ParamInfo("embed.weight", (2, 2), aliases=("lm_head.weight",)), ParamInfo("fc", (2, 2))))
    assert plan({"type": "freeze", "patterns": ["lm_head"]}, model=tied).frozen == ("embed.weight",)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("options", "where", "message"),
    [
        ({"patterns": ["patch_embed", "hed"]}, "patterns[1]", "'hed' matches no parameter. Closest: head"),
        ({"levels": [1, 2]}, "levels[1]", "'**.levels.2' matches no parameter."),
        ({}, "", "freeze needs `patterns` or `levels`"),
        ({"levels": [-1]}, "levels[0]", "must be"),
        ({"levels": [True]}, "levels[0]", "must be"),
        ({"patterns": ["a..b"]}, "patterns[0]", "no empty segment"),
        ({"patterns": "head"}, "patterns", "must be"),
    ],
)
def test_what_freezes_nothing_is_an_error_with_its_path(
    options: dict[str, Any], where: str, message: str, keep: bool
) -> None:
    with pytest.raises(ConfigError) as caught:
        frozen(**options, keep_norm_stats=keep)
    assert caught.value.path == f"rules[0].{where}".rstrip(".")
    assert message in str(caught.value)


@pytest.mark.parametrize("choice", ["wrn", 1, "true", []])
def test_a_wrong_choice_about_statistics_lists_all_that_are_right(choice: Any) -> None:
    with pytest.raises(ConfigError, match=r'^rules\[0\]\.keep_norm_stats: must be true, false, "warn", or null'):
        frozen(patterns=["head"], keep_norm_stats=choice)


NORMS = ("stem", "stem.bn", "stem2.bn", "levels.1.bn", "levels.10.bn", "net.levels.1.bn")
WITH_NORMS = Inventory(
    [ParamInfo(f"{norm}.{leaf}", (2,)) for norm in NORMS for leaf in ("weight", "bias")] + [ParamInfo("head", (2, 2))],
    statistics=(*NORMS, "stem.plain", "levels.10.plain"),
)


def kept(**options: Any) -> set[str]:
    plan = make_plan({"optimizer": {"type": "adamw"}, "rules": [{"type": "freeze", **options}]}, WITH_NORMS)
    return set(plan.kept_statistics)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"patterns": ("stem",)}, {"stem", "stem.bn", "stem.plain"}),
        ({"patterns": ("stem.bn",)}, {"stem.bn"}),
        ({"patterns": ("stem.bn.weight",)}, set()),
        ({"patterns": ("stem.bn.weight", "**.bias")}, {"stem.bn"}),
        ({"levels": (1,)}, {"levels.1.bn", "net.levels.1.bn"}),
        ({"levels": (10,)}, {"levels.10.bn", "levels.10.plain"}),
    ],
)
def test_statistics_of_norms_that_are_frozen_are_kept(options: dict[str, Any], expected: set[str]) -> None:
    assert kept(**options) == kept(**options, keep_norm_stats=True) == expected
    assert kept(**options, keep_norm_stats=False) == kept(**options, keep_norm_stats="warn") == set()


def test_keeping_statistics_where_there_are_none_is_told_if_asked_for() -> None:
    rule = {"type": "freeze", "patterns": ["head"]}
    told = [
        make_plan({"optimizer": {"type": "adamw"}, "rules": [{**rule, **keep}]}, WITH_NORMS).warnings
        for keep in ({}, {"keep_norm_stats": True}, {"keep_norm_stats": False}, {"keep_norm_stats": "warn"})
    ]
    nothing = "rules[0] (freeze): keep_norm_stats does nothing: no module inside has running statistics"
    assert told == [(), (nothing,), (), ()]


def test_statistics_that_go_on_changing_are_a_warning_if_asked_for() -> None:
    rule = {"type": "freeze", "patterns": ["stem"], "keep_norm_stats": "warn"}
    (warning,) = make_plan({"optimizer": {"type": "adamw"}, "rules": [rule]}, WITH_NORMS).warnings
    assert warning.endswith("(keep_norm_stats: true keeps them): stem, stem.bn, stem.plain")


def test_norms_outside_of_what_is_frozen_go_on_training() -> None:
    model = Net()
    rule = {"type": "freeze", "patterns": ["blocks"], "keep_norm_stats": True}
    build_optimizer({"optimizer": {"type": "adamw"}, "rules": [rule]}, model)
    assert model.train().stem[1].training
    assert not any(tensor.requires_grad for tensor in model.blocks.parameters())


@pytest.mark.parametrize(
    "rules",
    [
        [{"type": "match", "table": {"stem": {"freeze": True}}}],
        [{"type": "freeze", "patterns": ["stem.bn.weight"]}, {"type": "freeze", "patterns": ["stem.bn.bias"]}],
    ],
)
def test_statistics_are_kept_whatever_rules_freeze_the_norm(rules: list[dict[str, Any]]) -> None:
    plan = make_plan({"optimizer": {"type": "adamw"}, "rules": rules}, WITH_NORMS)
    assert "stem.bn" in plan.kept_statistics
    released = [*rules, {"type": "freeze", "patterns": ["stem.bn"], "keep_norm_stats": False}]
    assert "stem.bn" not in make_plan({"optimizer": {"type": "adamw"}, "rules": released}, WITH_NORMS).kept_statistics


class Domains(nn.Module):
    """A batch norm per domain, with one pair of affine parameters, and one that stands under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.bn2.weight, self.bn2.bias = self.bn1.weight, self.bn1.bias
        self.bn3 = self.bn4 = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 4)


@pytest.mark.parametrize("pattern", ["bn{1..4}", "bn{1,3}", "bn{2,4}", "re:^bn[13]\\.", "bn{2,4}.{weight,bias}"])
def test_norms_that_share_parameters_keep_their_statistics_together(pattern: str) -> None:
    config = {"optimizer": {"type": "adamw"}, "rules": [{"type": "freeze", "patterns": [pattern]}]}
    assert make_plan(config, Domains()).kept_statistics == ("bn1", "bn2", "bn3", "bn4")
    by_two = [{"type": "freeze", "patterns": [f"bn{{2,3}}.{name}"]} for name in ("weight", "bias")]
    assert make_plan({**config, "rules": by_two}, Domains()).kept_statistics == ("bn1", "bn2", "bn3", "bn4")
