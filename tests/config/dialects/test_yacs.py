"""The yacs dialect: published configs load as they are, misspelt keys are errors, and messages name yacs paths."""

from __future__ import annotations

import copy
import textwrap
from typing import Any

import pytest
from yacs.config import CfgNode

from optimbuild import ConfigError, Inventory, OptimBuildError, ParamInfo, make_plan
from optimbuild.config import read_config
from optimbuild.config.dialects.yacs import defaults, recognises
from optimbuild.model.hints import Hints

MODEL = Inventory(
    (
        ParamInfo("patch_embed.weight", (2, 2)),
        ParamInfo("levels.0.blocks.0.dcn.offset.weight", (2, 2)),
        ParamInfo("levels.0.blocks.0.norm.weight", (2,), owner="LayerNorm", kinds=frozenset({"norm"})),
        ParamInfo("levels.1.blocks.0.fc.weight", (2, 2)),
        ParamInfo("head.weight", (2, 2)),
    ),
    Hints({"lr_decay_keywords": {"0.5": {"patch_embed": 0.125, "levels.0.": 0.25, "levels.1.": 0.6}}}),
    "InternImage",
)


def train(**keys: Any) -> dict[str, Any]:
    return {"TRAIN": keys}


def node(**keys: Any) -> dict[str, Any]:
    return train(OPTIMIZER=keys)


# --- what the keys mean -----------------------------------------------------------------------


def test_every_published_key_has_its_meaning():
    plan = make_plan(
        train(
            WEIGHT_DECAY=0.5,
            BASE_LR=1.0,
            LR_LAYER_DECAY=True,
            LR_LAYER_DECAY_RATIO=0.5,
            OPTIMIZER={
                "NAME": "AdamW",
                "EPS": 1e-6,
                "BETAS": [0.8, 0.9],
                "MOMENTUM": 0.3,
                "USE_ZERO": False,
                "FREEZE_BACKBONE": [1],
                "DCN_LR_MUL": 0.5,
            },
        ),
        MODEL,
    )
    assert [decision.lr for decision in plan] == [0.125, 0.125, 0.25, None, 1.0]
    assert [decision.weight_decay for decision in plan] == [0.5, 0.5, 0.0, None, 0.5]
    assert plan.frozen == ("levels.1.blocks.0.fc.weight",)
    assert plan["head.weight"].options["betas"] == (0.8, 0.9)
    assert plan["head.weight"].options["eps"] == 1e-6
    assert plan.warnings == (
        "TRAIN.LR_LAYER_DECAY (layer_decay): no layer claims these parameters, so they keep the full LR: head.weight",
    )


def test_sgd_takes_the_momentum_and_is_nesterovs():
    options = make_plan(node(NAME="sgd", MOMENTUM=0.5), MODEL)["head.weight"].options
    assert (options["momentum"], options["nesterov"]) == (0.5, True)
    assert make_plan(node(NAME="sgd"), MODEL)["head.weight"].options["momentum"] == 0.9


def test_the_defaults_are_those_of_the_published_configs():
    plan = make_plan(train(), MODEL)
    options = plan["head.weight"].options
    assert (options["lr"], options["weight_decay"], options["betas"], options["eps"]) == (
        5e-4,
        0.05,
        (0.9, 0.999),
        1e-8,
    )
    assert plan["patch_embed.weight"].lr == 5e-4
    assert make_plan(node(NAME="adamw"), MODEL) == plan


@pytest.mark.parametrize(
    ("ours", "key", "value"),
    [
        ("zero", "ZERO", True),
        ("zero", "USE_ZERO", True),
        ("zero", "ZERO", {"bucket_view": False}),
        ("implementation", "IMPLEMENTATION", "for-loop"),
        ("strict", "STRICT", False),
        ("watch", "WATCH", False),
        ("resume", "RESUME", {"missing": "init", "unexpected": "ignore"}),
    ],
)
def test_our_own_keys_stand_under_optimizer(ours, key, value):
    spec = read_config(node(**{key: value})).spec.to_dict()
    assert spec[ours] == ({"stage": 1, **value} if ours == "zero" and isinstance(value, dict) else value)


def test_more_rules_apply_after_those_that_the_other_keys_stand_for():
    config = train(
        BASE_LR=1.0, OPTIMIZER={"RULES": [{"type": "match", "table": {"head": {"lr_mult": 0.1, "weight_decay": 0.25}}}]}
    )
    decision = make_plan(config, MODEL)["head.weight"]
    assert (decision.lr, decision.weight_decay) == (0.1, 0.25)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("BETAS", "(0.8, 0.9)", (0.8, 0.9)),
        ("BETAS", "[0.8, 0.9]", (0.8, 0.9)),
        ("EPS", "1e-6", 1e-6),
        ("FREEZE_BACKBONE", "[0, 1]", (0, 1)),
        ("FREEZE_BACKBONE", "None", None),
        ("DCN_LR_MUL", "0.1", 0.1),
        ("STRICT", "False", False),
    ],
)
def test_strings_are_read_as_yacs_reads_them(key, text, value):
    assert read_config(node(**{key: text})).spec == read_config(node(**{key: value})).spec


def test_only_rules_that_somebody_asked_for_must_touch_a_parameter():
    plain = Inventory((ParamInfo("fc.weight", (2, 2)),))
    assert make_plan(train(), plain).warnings == ()
    with pytest.raises(ConfigError, match=r"^TRAIN\.OPTIMIZER\.DCN_LR_MUL: rule 'dcn_lr' touches no parameter"):
        make_plan(node(DCN_LR_MUL=0.1), plain)


def test_given_options_that_the_optimizer_fixes_are_warnings():
    plan = make_plan(train(WEIGHT_DECAY=0.1, OPTIMIZER={"NAME": "sgd_linear_probing", "MOMENTUM": 0.5}), MODEL)
    assert plan.warnings[:2] == (
        "TRAIN.OPTIMIZER.MOMENTUM is not used: sgd_linear_probing fixes momentum to 0.9, not 0.5",
        "TRAIN.WEIGHT_DECAY is not used: sgd_linear_probing fixes weight_decay to 0.0, not 0.1",
    )


# --- forms of a config ------------------------------------------------------------------------

PUBLISHED = """
DATA:
  IMG_ON_MEMORY: False
  STARTED: 2023-01-02
MODEL:
  TYPE: intern_image
  DROP_PATH_RATE: 0.1
  INTERN_IMAGE: {CORE_OP: 'DCNv3', DEPTHS: [4, 4, 18, 4], OFFSET_SCALE: .inf}
TRAIN:
  EMA: {ENABLE: True, DECAY: 0.9999}
  EPOCHS: 20
  WARMUP_EPOCHS: 2
  WEIGHT_DECAY: 0.05
  BASE_LR: 2e-05 # 512
  WARMUP_LR: .0
  MIN_LR: .0
  CLIP_GRAD: .inf
  LR_SCHEDULER: {NAME: cosine, DECAY_EPOCHS: 30}
  LR_LAYER_DECAY: true
  LR_LAYER_DECAY_RATIO: 0.5
  RAND_INIT_FT_HEAD: true
  USE_CHECKPOINT: true
  OPTIMIZER:
    DCN_LR_MUL: 0.1
AMP_OPT_LEVEL: O0
EVAL_FREQ: 1
"""


def test_a_whole_published_file_loads_as_it_is_with_what_it_inherits(tmp_path):
    (tmp_path / "base.yaml").write_text(PUBLISHED)
    (tmp_path / "config.yaml").write_text("BASE: ['base.yaml']\nTRAIN: {OPTIMIZER: {NAME: sgd}}\nTAG: {2: a, on: b}\n")
    plan = make_plan(tmp_path / "base.yaml", MODEL)
    assert plan["head.weight"].lr == 2e-5
    assert plan["levels.0.blocks.0.dcn.offset.weight"].lr == 2e-5 * 0.25 * 0.1
    assert make_plan(tmp_path / "config.yaml", MODEL)["head.weight"].optimizer == "sgd"


def test_a_cfg_node_is_read_frozen_or_not_and_stays_as_it_was():
    config = CfgNode(copy.deepcopy(train(BASE_LR=1.0, OPTIMIZER={"NAME": "sgd", "RULES": []})))
    config.freeze()
    before = copy.deepcopy(config)
    assert make_plan(config, MODEL)["head.weight"].lr == 1.0
    assert config == before
    assert config.is_frozen()


def test_the_defaults_go_under_a_projects_own_config(tmp_path):
    project = CfgNode({"DATA": CfgNode({"PATH": ""}), "TRAIN": CfgNode({"EPOCHS": 300})})
    project.TRAIN.update(defaults().TRAIN)
    path = tmp_path / "config.yaml"
    path.write_text(
        textwrap.dedent("""
            DATA: {PATH: somewhere}
            TRAIN:
              EPOCHS: 20
              BASE_LR: 2e-05
              LR_LAYER_DECAY: true
              LR_LAYER_DECAY_RATIO: 0.5
              OPTIMIZER:
                NAME: sgd
                BETAS: [0.8, 0.9]
                FREEZE_BACKBONE: [1]
                DCN_LR_MUL: 0.1
                RULES: [{type: match, table: {head: {lr_mult: 2.0}}}]
        """)
    )
    project.merge_from_file(str(path))
    project.merge_from_list(["TRAIN.OPTIMIZER.STRICT", "False"])
    project.freeze()
    found, expected = make_plan(project, MODEL), make_plan(path, MODEL)
    assert found.diff(expected).lines() == []
    assert found["head.weight"].lr == 4e-5
    assert (found.spec.strict, expected.spec.strict) == (False, True)


def test_the_defaults_are_fresh_every_time_and_say_nothing_by_themselves():
    defaults().TRAIN.OPTIMIZER.RULES.append({"type": "no_decay"})
    defaults().TRAIN.BASE_LR = 3.0
    assert defaults().TRAIN.OPTIMIZER.RULES == []
    assert read_config(defaults()).spec.to_dict() == {
        **read_config(train()).spec.to_dict(),
        "optimizer": {"type": "adamw", "lr": 5e-4, "weight_decay": 0.05, "eps": 1e-8, "betas": [0.9, 0.999]},
    }


@pytest.mark.parametrize(("raw", "ours"), [({"TRAIN": {}}, True), ({"train": {}}, False), ({}, False)])
def test_it_is_recognised_by_train(raw, ours):
    assert recognises(raw) == ours


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"TRAIN": None}, "TRAIN: must be a mapping, not None"),
        ({"TRAIN": [1]}, "TRAIN: must be a mapping, not (1,)"),
        (train(BASE_LRR=1), "TRAIN: unknown key 'BASE_LRR'. Did you mean 'BASE_LR'?"),
        (train(base_lr=1), "TRAIN: unknown key 'base_lr'. Did you mean 'BASE_LR'?"),
        (train(WEIGHT_DECY=1), "TRAIN: unknown key 'WEIGHT_DECY'. Did you mean 'WEIGHT_DECAY'?"),
        (train(LAYER_DECAY=1), "TRAIN: unknown key 'LAYER_DECAY'. Did you mean 'LR_LAYER_DECAY'?"),
        (train(OPTIMISER={}), "TRAIN: unknown key 'OPTIMISER'. Did you mean 'OPTIMIZER'?"),
        (train(BASE_LR="fast"), "TRAIN.BASE_LR: must be a number (given: 'fast')"),
        (train(BASE_LR=-1), "TRAIN.BASE_LR: must be greater than or equal to 0 (given: -1)"),
        (train(BASE_LR=float("nan")), "TRAIN.BASE_LR: must be a finite number, not nan"),
        (train(BASE_LR="nan"), "TRAIN.BASE_LR: must be a finite number (given: 'nan')"),
        (train(BASE_LR="1e999"), "TRAIN.BASE_LR: must be a finite number (given: inf)"),
        (train(BASE_LR=True), "TRAIN.BASE_LR: must be a number, not a truth value (given: True)"),
        (train(LR_LAYER_DECAY=1), "TRAIN.LR_LAYER_DECAY: must be true or false (given: 1)"),
        (train(LR_LAYER_DECAY=True, LR_LAYER_DECAY_RATIO=1.5),
         "TRAIN.LR_LAYER_DECAY_RATIO: must be less than or equal to 1 (given: 1.5)"),
        (train(LR_LAYER_DECAY=True, LR_LAYER_DECAY_RATIO=0.7), "does not know what lr_decay_keywords(0.7) answers"),
        (train(OPTIMIZER=None), "TRAIN.OPTIMIZER: must be a mapping (given: None)"),
        (train(OPTIMIZER="adamw"), "TRAIN.OPTIMIZER: must be a mapping (given: 'adamw')"),
        (node(NAMES="adamw"), "TRAIN.OPTIMIZER: unknown key 'NAMES'. Did you mean 'NAME'?"),
        (node(LR=1), "TRAIN.OPTIMIZER: unknown key 'LR'. Known: NAME, EPS, BETAS"),
        (node(DCN_LR_MULT=1), "TRAIN.OPTIMIZER: unknown key 'DCN_LR_MULT'. Did you mean 'DCN_LR_MUL'?"),
        (node(NAME=3), "TRAIN.OPTIMIZER.NAME: must be a string (given: 3)"),
        (node(NAME="adamv"), "TRAIN.OPTIMIZER.NAME: unknown optimizer 'adamv'. Did you mean 'adamw'"),
        (node(NAME="os.system"), "TRAIN.OPTIMIZER.NAME: unknown optimizer 'os.system'. Only registered names"),
        (node(EPS=-1), "TRAIN.OPTIMIZER.EPS: must be greater than or equal to 0 (given: -1)"),
        (node(BETAS=[0.9]), "TRAIN.OPTIMIZER.BETAS: needs more than 1 item"),
        (node(BETAS=[0.9, 1.5]), "TRAIN.OPTIMIZER.BETAS[1]: must be less than 1 (given: 1.5)"),
        (node(BETAS="{[]: 1}"), "TRAIN.OPTIMIZER.BETAS: must be a list (given: '{[]: 1}')"),
        (node(MOMENTUM="x"), "TRAIN.OPTIMIZER.MOMENTUM: must be a number (given: 'x')"),
        (node(NAME="sgd", MOMENTUM=0), "TRAIN.OPTIMIZER: nesterov needs a momentum above 0"),
        (node(FREEZE_BACKBONE=[7]), "TRAIN.OPTIMIZER.FREEZE_BACKBONE[0]: '**.levels.7' matches no parameter."),
        (node(FREEZE_BACKBONE=[0, -1]), "TRAIN.OPTIMIZER.FREEZE_BACKBONE[1]: must be greater than or equal to 0"),
        (node(FREEZE_BACKBONE=3), "TRAIN.OPTIMIZER.FREEZE_BACKBONE: must be a list (given: 3)"),
        (node(DCN_LR_MUL=0), "TRAIN.OPTIMIZER.DCN_LR_MUL: must be greater than 0 (given: 0)"),
        (node(USE_ZERO="yes"), "TRAIN.OPTIMIZER.USE_ZERO: must be true or false (given: 'yes')"),
        (node(ZERO={"stag": 1}), "TRAIN.OPTIMIZER.ZERO: unknown key 'stag'. Did you mean 'stage'?"),
        (node(ZERO={"stage": 3}), "TRAIN.OPTIMIZER.ZERO.stage: must be 1"),
        (node(IMPLEMENTATION="fast"), "TRAIN.OPTIMIZER.IMPLEMENTATION: must be 'auto', 'fused', 'foreach' or"),
        (node(RULES={"type": "x"}), "TRAIN.OPTIMIZER.RULES: must be a list (given: {'type': 'x'})"),
        (node(RULES=[3]), "TRAIN.OPTIMIZER.RULES[0]: must be a mapping (given: 3)"),
        (node(RULES=[{"type": "no_decay"}, {}]), "TRAIN.OPTIMIZER.RULES[1].type: is required"),
        (node(RULES=[{"type": "nope"}]), "TRAIN.OPTIMIZER.RULES[0].type: unknown rule 'nope'."),
        (node(DCN_LR_MUL=0.1, RULES=[{"type": "layer_decay", "ratio": 2}]),
         "TRAIN.OPTIMIZER.RULES[0].ratio: must be less than or equal to 1 (given: 2)"),
        (node(RULES=[{"type": "freeze", "patterns": ["hed"]}]),
         "TRAIN.OPTIMIZER.RULES[0].patterns[0]: 'hed' matches no parameter. Closest: head"),
        (node(RULES=[{"type": "match", "table": {"head": {"lr": -1}}}]),
         "TRAIN.OPTIMIZER.RULES[0].lr: must be greater than or equal to 0 (given: -1)"),
        (node(RULES="[{[]: 1}]"), "TRAIN.OPTIMIZER.RULES: must be a list (given: '[{[]: 1}]')"),
        (node(RULES="[b'x']"), "TRAIN.OPTIMIZER.RULES[0]: must be plain data, not b'x' of type bytes"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_yacs_path(config, message):
    before = copy.deepcopy(config)
    with pytest.raises(OptimBuildError) as caught:
        make_plan(config, MODEL)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 700
    assert repr(config) == repr(before)


@pytest.mark.parametrize(
    "key", ["WARMUP_LR", "MIN_LR", "LR_SCHEDULER", "CLIP_GRAD", "EMA", "SOMETHING_ELSE", "PARAM_EMA"]
)
def test_other_keys_of_the_published_projects_are_none_of_our_business(key):
    assert make_plan(train(**{key: {1, 2}}), MODEL) == make_plan(train(), MODEL)
