"""A config of any dialect is read from a mapping, a Spec, a CfgNode or a path; any of its keys can be overridden."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yacs.config import CfgNode

from optimbuild import ConfigError, Inventory, OptimBuildError, ParamInfo, Spec, make_plan
from optimbuild.config import read_config
from optimbuild.config.overrides import overridden
from optimbuild.config.read import read_raw
from optimbuild.values import join
from tests.properties import examples

MODEL = Inventory((ParamInfo("levels.0.weight", (2, 2)), ParamInfo("head.weight", (2, 2))))
OWN = {
    "optimizer": {"type": "adamw", "lr": 1.0, "betas": [0.9, 0.99]},
    "rules": [{"type": "match", "table": {"levels.0": {"lr_mult": 0.5}}}],
}


def test_the_same_config_reads_the_same_in_every_form(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(OWN))
    spec = Spec.of(OWN)
    for form in (OWN, spec, CfgNode(copy.deepcopy(OWN)), tmp_path / "c.json", str(tmp_path / "c.json")):
        assert read_config(form).spec == spec
    assert read_config(spec, ["optimizer.lr=2.0"]).spec == read_config(OWN, ["optimizer.lr=2.0"]).spec != spec


def test_yacs_and_mmengine_are_recognised_by_their_own_keys():
    assert read_config({"TRAIN": {}}).spec.optimizer.type == "adamw"
    assert read_config({"TRAIN": {}, "optimizer": {"type": "sgd"}}).spec.optimizer.type == "adamw"
    assert read_config({"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}}}).spec.optimizer.options["lr"] == 0.1


@pytest.mark.parametrize("config", [None, 3, [OWN], object(), b"config.yaml", {1}, ("optimizer", OWN)])
def test_what_is_no_config_is_refused(config):
    with pytest.raises(ConfigError, match="a config is a mapping, a Spec or a path, not"):
        make_plan(config, MODEL)


@pytest.mark.parametrize("config", [{}, {"model": 3}, {"TRAINING": {}}, CfgNode()])
def test_a_config_of_no_dialect_says_what_a_config_has(config):
    with pytest.raises(ConfigError, match=r"no known dialect\. A config has `optimizer`"):
        make_plan(config, MODEL)


# --- overriding -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("optimizer.lr=2e-3", ("optimizer", "lr"), "2e-3"),
        ("optimizer.lr=0.5", ("optimizer", "lr"), 0.5),
        ("optimizer.betas=[0.8, 0.9]", ("optimizer", "betas"), (0.8, 0.9)),
        ("optimizer.betas[1]=0.5", ("optimizer", "betas", 1), 0.5),
        ("optimizer.betas.1=0.5", ("optimizer", "betas", 1), 0.5),
        ("rules[0].type=freeze", ("rules", 0, "type"), "freeze"),
        ("rules[0].table['levels.0'].lr_mult=0.1", ("rules", 0, "table", "levels.0", "lr_mult"), 0.1),
        ('rules[0].table["levels.0"]={}', ("rules", 0, "table", "levels.0"), {}),
        ("strict=false", ("strict",), False),
        ("optimizer={type: sgd, lr: 1}", ("optimizer",), {"type": "sgd", "lr": 1}),
        ("new.key.deep=1", ("new", "key", "deep"), 1),
        ("optimizer.name=a=b", ("optimizer", "name"), "a=b"),
        ("optimizer.lr=", ("optimizer", "lr"), None),
    ],
)
def test_any_key_can_be_overridden(override, place, value):
    raw = read_raw(OWN)
    before = copy.deepcopy(raw)
    node: Any = overridden(raw, [override])
    for key in place:
        node = node[key]
    assert node == value
    assert raw == before


def test_later_overrides_win():
    assert read_config(OWN, ["optimizer.lr=2", "optimizer.lr=3"]).spec.optimizer.options["lr"] == 3


def test_paths_in_messages_are_paths_for_overriding():
    path = join("rules", 0, "table", "levels.0", "lr_mult")
    assert read_config(OWN, [f"{path}=0.25"]).spec.rules[0].options["table"]["levels.0"]["lr_mult"] == 0.25


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr", "--set takes KEY=VALUE, such as optimizer.lr=1e-4, not 'optimizer.lr'"),
        ("", "--set takes KEY=VALUE, such as optimizer.lr=1e-4, not ''"),
        ("=1", "--set takes KEY=VALUE, such as optimizer.lr=1e-4, not '=1'"),
        (".lr=1", "--set takes KEY=VALUE"),
        ("optimizer..lr=1", "--set takes KEY=VALUE"),
        ("optimizer.lr.=1", "--set takes KEY=VALUE"),
        ("rules[x]=1", "--set takes KEY=VALUE"),
        ("rules[-1]=1", "--set takes KEY=VALUE"),
        ("rules[0=1", "--set takes KEY=VALUE"),
        ("rules[²].type=1", "--set takes KEY=VALUE"),
        ("rules.².type=1", "--set 'rules.².type': there is no entry '²' in a list of 1"),
        ("rules[1].type=x", "--set 'rules[1].type': there is no entry '1' in a list of 1"),
        ("rules[" + "9" * 5000 + "].type=x", "there is no entry '9999"),
        ("rules.first.type=x", "--set 'rules.first.type': there is no entry 'first' in a list of 1"),
        ("optimizer.lr.deep=1", "--set 'optimizer.lr.deep': 1.0 has no key 'deep'"),
        ("optimizer.lr=[", "the value of --set 'optimizer.lr=[' is not YAML: "),
        ("optimizer.lr=!!python/name:os.system", "is not YAML: could not determine a constructor for the tag"),
        ("optimizer.lr=2020-13-45", "is not YAML: month must be in 1..12"),
        ("optimizer.lr=!!bool x", "is not YAML: "),
        ("optimizer.lr=" + "[" * 5000, "is not YAML: it is nested too deep"),
        ("optimizer.lr=.nan", "optimizer.lr: must be a finite number, not nan"),
        ("optimizer.lr=2020-01-01", "optimizer.lr: must be plain data, not datetime.date(2020, 1, 1) of type date"),
        ("optimizer.lr=fast", "optimizer.lr: must be a number (given: 'fast')"),
        ("optimizer.lrr=1", "optimizer: adamw takes no option 'lrr'. Did you mean 'lr'?"),
        ("optimiser.lr=1", "unknown key 'optimiser'. Did you mean 'optimizer' or 'optimizers'?"),
        ("rules=3", "rules: must be a list (given: 3)"),
        ("optimizer=3", "optimizer: must be a mapping (given: 3)"),
        ("a\x1b[31m=1", "--set takes KEY=VALUE, such as optimizer.lr=1e-4, not 'a\\x1b[31m=1'"),
        (3, "--set takes KEY=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_override_says_what_is_wrong(override, message):
    with pytest.raises(ConfigError) as caught:
        make_plan(OWN, MODEL, overrides=(override,))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


WRAPPED = {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1}}}


@pytest.mark.parametrize(
    ("config", "override", "message"),
    [
        ({"TRAIN": {"BASE_LR": 0.1}}, "BASE_LR=0.5", "'BASE_LR'. Did you mean 'TRAIN.BASE_LR'? Known: TRAIN."),
        ({"TRAIN": {"BASE_LR": 0.1}}, "optimizer.lr=9", "unknown key 'optimizer'."),
        ({"TRAIN": {"BASE_LR": 0.1}}, "TRAIN.LR=3", "unknown key 'LR'."),
        ({"TRAIN": {"BASE_LR": 0.1}, "DATA": {"SIZE": 2}}, "DATA.SIZE=3", "unknown key 'DATA'."),
        ({"TRAIN": {"BASE_LR": 0.1}}, "optim_wrapper.optimizer.type=SGD", "unknown key 'optim_wrapper'."),
        (OWN, "TRAIN.BASE_LR=1", "unknown key 'TRAIN'."),
        (OWN, "optim_wrapper.optimizer.type=SGD", "unknown key 'optim_wrapper'."),
        (WRAPPED, "optimizer.lr=0.5", "Did you mean 'optim_wrapper.optimizer'?"),
        (WRAPPED, "paramwise_cfg.bias_lr_mult=2", "Did you mean 'optim_wrapper.paramwise_cfg'?"),
        (WRAPPED, "optim_wrapper.clip_grad.max_norm=2", "unknown key 'clip_grad'."),
        (WRAPPED, "_base_=x.py", "unknown key '_base_'."),
    ],
)  # fmt: skip
def test_an_override_of_a_key_that_is_not_read_is_refused(config, override, message):
    with pytest.raises(ConfigError, match=r"^--set .* changes nothing") as caught:
        make_plan(config, MODEL, overrides=(override,))
    assert message in str(caught.value)


def test_overrides_can_give_a_config_its_first_keys():
    assert read_config({}, ["optimizer.type=sgd", "optimizer.lr=1"]).spec.optimizer.type == "sgd"


@settings(max_examples=examples(600), deadline=None)
@given(
    st.sampled_from([OWN, {"TRAIN": {"BASE_LR": 0.1}}]),
    st.lists(
        st.text("optimizerulsTRAIN.[]01'=", max_size=20)
        | st.builds(
            lambda place, value: f"{place}={value}",
            st.sampled_from(
                ["optimizer", "rules[0]", "rules[0].table", "TRAIN.OPTIMIZER", "TRAIN", "strict", "zero.stage"]
            ),
            st.text("[]{}:,- !&*ab0.1'\n", max_size=10),
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_whatever_is_overridden_there_is_a_plan_or_an_error_of_ours(config, overrides):
    before = copy.deepcopy(config)
    try:
        make_plan(config, MODEL, overrides=tuple(overrides))
    except OptimBuildError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 1500
    assert config == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a." * 400 + "a=1", "is deeper than 64 levels$"),
        ("['" * 30_000 + "=1", "has at most 10000 characters, not 60000$"),
        ("optimizer.betas=[" + "1," * 60_000 + "]", r"^the value of --set '.*\.\.\. holds more than 10000 values$"),
        ("optimizer.lr=1" + ":1" * 60_000, "an integer in base 60 has at most 100 characters"),
    ],
)
def test_an_override_above_a_limit_is_refused_with_the_limit(override, message):
    with pytest.raises(ConfigError, match=message):
        overridden({"optimizer": {"type": "adamw"}}, [override])
