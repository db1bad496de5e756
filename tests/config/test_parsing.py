"""Any text is read as YAML or refused, and never runs or takes long."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from optimbuild import OptimBuildError
from optimbuild.config.files import readable
from optimbuild.config.parsing import parsed_yaml
from tests.properties import examples


def test_merge_keys_work_where_they_stay_small():
    text = "a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}\nc: {<<: [{y: 3, z: 3}, *a], x: 4}"
    assert parsed_yaml(text) == {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}, "c": {"y": 3, "z": 3, "x": 4}}


SIGNS = list("a[]{}'\"|>~%@é\\#=\n\t")
WORDS = [
    "b: ",
    "- ",
    ", ",
    "&x ",
    "*x",
    "<<: ",
    "  ",
    "? ",
    ": ",
    "0x1F",
    ".nan",
    "1e3",
    "2020-01-01",
    "---",
    "1:2:3.4",
]
TAGS = [f"!!{tag} " for tag in ("int", "float", "bool", "set", "omap", "timestamp", "python/name:os")]


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(st.sampled_from([*SIGNS, *WORDS, *TAGS]), max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_is_read_as_yaml_or_refused_as_no_yaml(text):
    try:
        found: Any = parsed_yaml(text)
    except ValueError as error:
        found = str(error)
        assert "\n" not in found
    try:
        readable(found if isinstance(found, dict) else {"a": found}, {"a": None})
    except OptimBuildError as error:
        found = str(error)
    assert len(repr(found)) < 10_000
