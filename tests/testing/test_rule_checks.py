"""The kit finds the fault of each faulty rule, and none in what we ship."""

from __future__ import annotations

import importlib

import pytest

from optimbuild.registry import RULES
from optimbuild.testing.rule_checks import RULE_CHECKS
from optimbuild.testing.rules import verdicts_on_rule

ALL_THAT_COMPARE = {
    "options_round_trip",
    "the_same_twice",
    "an_inventory_file_gives_the_same",
    "other_processes_give_the_same",
}
"""The checks that see a rule which does not answer the same twice."""
FAULTS = {
    "faultless": set(),
    "random": ALL_THAT_COMPARE,
    "edits_its_input": {"nothing_is_changed"},
    "edits_its_options": {"nothing_is_changed"},
    "seeds": {"nothing_is_changed"},
    "order_of_a_set": {"other_processes_give_the_same"},
    "only_on_cpu": {"an_inventory_file_gives_the_same"},
    "undescribed": {"options_are_described"},
    "reserved_option": {"options_are_described"},
    "crashes_on_numbers": {"every_model_is_answered"},
    "returns_a_mapping": {"every_model_is_answered", "some_parameter_is_touched"},
    "no_reason": {"edits_can_be_planned"},
    "unknown_to_optimizer": {"edits_can_be_planned"},
    "no_round_trip": {"options_round_trip"},
    "remembers": ALL_THAT_COMPARE,
    "idle": {"some_parameter_is_touched"},
    "plain_class": {"options_are_described"},
    "takes_anything": {"unknown_options_are_refused"},
}
"""By rule: the checks that must find its fault. No other may complain."""
MEANT = {"require": ("some_parameter_is_touched",)}
"""By rule of ours: the checks that it fails because it is meant to, as one that only refuses models touches nothing."""


OURS = [name for name in RULES.names() if RULES.origin(name).module.startswith("optimbuild.")]


@pytest.fixture(autouse=True, scope="module")
def _registered():
    importlib.import_module("tests.testing.faulty_rules")


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_of_a_rule_is_found(name):
    (verdict,) = verdicts_on_rule(name)
    assert {fault.check for fault in verdict.faults} == FAULTS[name], verdict


@pytest.mark.parametrize("name", OURS)
def test_a_rule_of_ours_passes_with_the_examples_in_its_docstring(name):
    verdicts = verdicts_on_rule(name, leave_out=MEANT.get(name, ()))
    assert [str(verdict) for verdict in verdicts if verdict.faults] == []


def test_each_check_of_a_rule_finds_a_planted_fault():
    without = {"every_dialect_gives_the_same"}  # only a fault of a dialect could fail it
    assert set().union(*FAULTS.values()) == {check.__name__ for check in RULE_CHECKS} - without
