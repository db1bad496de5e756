"""The canonical config: a frozen value of plain data, that knows its own keys and no others."""

from __future__ import annotations

import copy
import json

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import ConfigError, Spec
from optimbuild.config.spec import ZeroSpec
from tests.properties import examples

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=5,
)
KEYS = st.text().filter(lambda key: key not in ("type", "optional"))
CONFIGS = st.fixed_dictionaries(
    {
        "optimizer": st.builds(
            lambda rest, kind: {**rest, "type": kind}, st.dictionaries(KEYS, VALUES), st.text(min_size=1)
        )
    },
    optional={
        "rules": st.lists(
            st.builds(lambda rest, kind: {**rest, "type": kind}, st.dictionaries(KEYS, VALUES), st.text(min_size=1)),
            max_size=3,
        ),
        "zero": st.booleans() | st.fixed_dictionaries({}, optional={"stage": st.just(1), "bucket_view": st.booleans()}),
        "implementation": st.sampled_from(["auto", "fused", "foreach", "for-loop"]),
        "strict": st.booleans(),
        "watch": st.booleans(),
    },
)


@settings(max_examples=examples(150))
@given(CONFIGS)
def test_a_spec_survives_json_and_leaves_the_config_as_it_was(config):
    before = copy.deepcopy(config)
    spec = Spec.of(config)
    assert config == before
    assert Spec.of(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.to_dict()["optimizer"] == before["optimizer"]
    assert [rule.options.keys() for rule in spec.rules] == [rule.keys() - {"type"} for rule in config.get("rules", ())]


def test_a_spec_cannot_be_changed():
    spec = Spec.of({"optimizer": {"type": "adamw", "betas": [0.9, 0.99]}, "rules": [{"type": "no_decay"}]})
    for change in (
        lambda: setattr(spec, "strict", False),
        lambda: setattr(spec.optimizer, "type", "sgd"),
        lambda: setattr(spec.optimizer, "lr", 0.1),
        lambda: setattr(spec.rules[0], "optional", True),
    ):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            change()
    assert spec.optimizer.options == {"betas": (0.9, 0.99)}


def test_changing_the_config_afterwards_does_not_change_the_spec():
    config = {"optimizer": {"type": "adamw", "betas": [0.9, 0.99]}, "rules": [{"type": "freeze", "patterns": ["a"]}]}
    spec = Spec.of(config)
    before = spec.to_dict()
    config["optimizer"]["betas"][0] = 0.1
    config["rules"][0]["patterns"].append("b")
    assert spec.to_dict() == before


@pytest.mark.parametrize(
    ("zero", "sharding"), [(False, None), (True, ZeroSpec()), ({"bucket_view": False}, ZeroSpec(bucket_view=False))]
)
def test_zero_is_a_switch_or_a_mapping_of_options(zero, sharding):
    assert Spec.of({"optimizer": {"type": "adamw"}, "zero": zero}).sharding == sharding


KNOWN = "Known: optimizer, optimizers, rules, zero, implementation, strict, watch, resume."


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (3, "must be a mapping, not 3"),
        ({}, "optimizer: is required"),
        ({"optimizer": "adamw"}, "optimizer: must be a mapping (given: 'adamw')"),
        ({"optimizer": {}}, "optimizer.type: is required"),
        ({"optimizer": {"type": ""}}, "optimizer.type: must not be empty (given: '')"),
        ({"optimizer": {"type": None}}, "optimizer.type: must be a string (given: None)"),
        ({"rules": {"type": "x"}}, "rules: must be a list (given: {'type': 'x'})"),
        ({"rules": ["no_decay"]}, "rules[0]: must be a mapping (given: 'no_decay')"),
        ({"rules": [{}]}, "rules[0].type: is required"),
        ({"rules": [{"type": "a"}, {"type": ["b"]}]}, "rules[1].type: must be a string (given: ('b',))"),
        ({"rules": [{"type": "a", "optional": 1}]}, "rules[0].optional: must be true or false (given: 1)"),
        ({"zero": "on"}, "zero: must be true or false (given: 'on')"),
        ({"zero": {"stag": 1}}, "zero: unknown key 'stag'. Did you mean 'stage'? Known: stage, bucket_view."),
        ({"zero": {"bucket_view": "yes"}}, "zero.bucket_view: must be true or false (given: 'yes')"),
        ({"implementation": 1}, "implementation: must be 'auto', 'fused', 'foreach' or 'for-loop' (given: 1)"),
        ({"strict": "no"}, "strict: must be true or false (given: 'no')"),
        ({"watch": "no"}, "watch: must be true or false (given: 'no')"),
        ({"rule": []}, "unknown key 'rule'. Did you mean 'rules'? " + KNOWN),
        ({"for-loop": 1}, "unknown key 'for-loop'. " + KNOWN),
        ({"a.b[0]": 1}, "unknown key 'a.b[0]'. " + KNOWN),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_named_by_its_path(config, message):
    whole = {"optimizer": {"type": "adamw"}, **config} if isinstance(config, dict) and config else config
    with pytest.raises(ConfigError) as caught:
        Spec.of(whole)
    assert str(caught.value) == message


def test_a_path_in_a_larger_config_goes_before():
    with pytest.raises(ConfigError, match=r"^optim\.optimizer\.type: is required$"):
        Spec.of({"optimizer": {}}, "optim")
