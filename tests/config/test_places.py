"""Lines of config files."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimbuild.config.places import rule_places

YAML = """\
optimizer: {type: adamw}
rules:
  - {type: no_decay}

  - type: layer_decay
    ratio: 0.9
"""
JSON = """\
{
  "optimizer": {"type": "adamw"},
  "rules": [
    {"type": "no_decay"},
    {"type": "layer_decay",
     "ratio": 0.9}
  ]
}
"""
PYTHON = """\
optim_wrapper = dict(
    optimizer=dict(type="adamw"),
    paramwise_cfg=dict(
        rules=[
            dict(type="no_decay"),
            {"type": "layer_decay",
             "ratio": 0.9},
        ],
    ),
)
raise SystemExit("a place is found without running a file")
"""
WRAPPED = "optim_wrapper.paramwise_cfg."


@pytest.mark.parametrize(
    ("name", "text", "above", "lines"),
    [
        ("own.yaml", YAML, "", (3, 5, 6)),
        ("own.json", JSON, "", (4, 5, 6)),
        ("own.py", PYTHON, WRAPPED, (5, 6, 7)),
    ],
)
def test_an_entry_has_the_line_that_it_begins_at(tmp_path: Path, name, text, above, lines):
    path = str(tmp_path / name)
    Path(path).write_text(text)
    keys = [f"{above}rules[0]", f"{above}rules[1]", f"{above}rules[1].ratio"]
    assert rule_places(path, keys) == [f"{path}:{line}" for line in lines]


@pytest.mark.parametrize(
    ("base", "inherited", "config", "own"),
    [
        ("base.yaml", "\nrules: [{type: no_decay}]\n", "a.yaml", "BASE: [base.yaml]\nstrict: true\n"),
        ("base.py", "\nrules = [dict(type='no_decay')]\n", "a.py", "_base_ = ['./base.py']\nstrict = True\n"),
    ],
)
def test_an_entry_is_found_in_a_file_that_is_inherited_from(tmp_path: Path, base, inherited, config, own):
    (tmp_path / base).write_text(inherited)
    (tmp_path / config).write_text(own)
    (inner, outer) = rule_places(str(tmp_path / config), ["rules[0]", "strict"])
    assert Path(inner.rpartition(":")[0]).name == base
    assert inner.endswith(":2")
    assert outer == f"{tmp_path / config}:2"


def test_an_override_is_added_to_the_place_of_what_it_changes(tmp_path: Path):
    path = str(tmp_path / "own.yaml")
    Path(path).write_text(YAML)
    assert rule_places(path, ["rules[0]", "rules[1]"], ["rules[1].ratio=0.8", "strict=false"]) == [
        f"{path}:3",
        f"{path}:5, --set rules[1].ratio=0.8",
    ]


@pytest.mark.parametrize("text", ["[", "- a\n", "", "a: *b", "\x00"])
def test_a_file_that_cannot_be_read_has_no_places(tmp_path: Path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    assert rule_places(str(path), ["rules[0]"]) == [""]
    assert rule_places(str(tmp_path / "none.yaml"), ["rules[0]"]) == [""]
