"""Config files are read safely: whatever stands in one, it is a config or an error that names the file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, make_plan
from optimbuild.config.files import load, readable
from optimbuild.config.parsing import MAX_BYTES

MODEL = Inventory((ParamInfo("levels.0.weight", (2, 2)), ParamInfo("head.weight", (2, 2))))
KEYS = dict.fromkeys(["optimizer", "rules", "strict", "TRAIN"])
VALID = "optimizer: {type: adamw, lr: 1e-3}\n"


def written(folder: Path, text: str | bytes, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_yaml_and_json_say_the_same(tmp_path):
    config = {"optimizer": {"type": "sgd", "lr": 0.1}, "rules": [{"type": "freeze", "levels": [0]}]}
    plans = [
        make_plan(config, MODEL),
        make_plan(written(tmp_path, json.dumps(config), "c.json"), MODEL),
        make_plan(
            str(written(tmp_path, "optimizer: {type: sgd, lr: 1e-1}\nrules:\n- type: freeze\n  levels: [0]\n")), MODEL
        ),
    ]
    assert plans[0] == plans[1]
    assert not plans[0].diff(plans[2])


LAUGHS = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 10))
MERGES = "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}], k{i}: 1}}\n" for i in range(1, 12))
CHAIN = "".join(f"c{i}: &c{i} {{<<: *c{i - 1}, k{i}: 1}}\n" for i in range(1, 1000))

TAG = "is not YAML: .*constructor for the tag"
WRONG_FILES: dict[str, tuple[bytes | str | None, str]] = {
    "missing": (None, "No such file or directory"),
    "empty": ("", "is empty"),
    "comments only": ("# nothing\n", "is empty"),
    "null": ("null", "is empty"),
    "binary": (bytes(range(256)), "is not text"),
    "utf-16": (VALID.encode("utf-16"), "is not text"),
    "a scalar": ("adamw", "must hold a mapping, not 'adamw'"),
    "a list": ("- a\n- b\n", r"must hold a mapping, not \['a', 'b'\]"),
    "not YAML": ("optimizer: {type: [", "is not YAML: .* in line 1, column"),
    "control characters": ("optimizer: \x07", "is not YAML: .*not allowed"),
    "tabs": ("optimizer:\n\ttype: adamw", "is not YAML: .* in line 2, column 1"),
    "two documents": (VALID + "---\n" + VALID, "is not YAML: .*another document"),
    "too large": (b"#" * (MAX_BYTES + 1), f"is too large: a config has at most {MAX_BYTES} bytes"),
    "nested lists": ("optimizer: " + "[" * 2000 + "]" * 2000, "is not YAML: it is nested too deep"),
    "nested mappings": ("{a: " * 2000 + "1" + "}" * 2000, "is not YAML: it is nested too deep"),
    "nested by indentation": ("".join(" " * i + "a:\n" for i in range(500)), "nested (too deep|deeper than)"),
    "less nested": ("optimizer: " + "[" * 200 + "]" * 200, "nested (too deep|deeper than 64 levels)"),
    "laughs": ("l0: &l0 [x, x]\n" + LAUGHS + "optimizer: *l9\n", "holds more than 10000 values"),
    "laughs as a key": ("l0: &l0 [x, x]\n" + LAUGHS + "? *l9\n: 1\n", "is not YAML: .*unhashable"),
    "merged laughs": ("m0: &m0 {k0: 1}\n" + MERGES + "optimizer: *m11\n", r"is not YAML: too much is merged \(<<\)"),
    "a long chain of merges": ("c0: &c0 {k0: 1}\n" + CHAIN, r"is not YAML: (too much is merged|it is nested too deep)"),
    "an endless list": ("optimizer: &a [*a]", "nested deeper than 64 levels"),
    "an endless mapping": ("optimizer: &a {b: *a}", "nested deeper than 64 levels"),
    "an endless key": ("&a [*a]: 1", "is not YAML"),
    "an unknown alias": ("optimizer: *nowhere", "is not YAML: .*undefined alias"),
    "a key twice": (VALID + "optimizer: {type: sgd}\n", "is not YAML: key 'optimizer' stands twice in line 2"),
    "an inner key twice": ("optimizer: {type: sgd, lr: 1, lr: 2}\n", "is not YAML: key 'lr' stands twice in line 1"),
    "a quoted key twice": ('optimizer: {type: sgd, lr: 1, "lr": 2}\n', "is not YAML: key 'lr' stands twice"),
    "a number twice as a key": ("optimizer: {1: a, 0x1: b}\n", "is not YAML: key 1 stands twice"),
    "a number and its text as keys": ("optimizer: {1: a, '1': b}\n", "optimizer: key '1' stands twice"),
    "a python object": ("optimizer: !!python/object/apply:os.system ['touch MARK']", TAG),
    "a python name": ("optimizer: {type: !!python/name:os.system ''}", TAG),
    "a python module": ("optimizer: {type: !!python/module:antigravity ''}", TAG),
    "a python tuple": ("optimizer: {betas: !!python/tuple [0.9, 0.9]}", TAG),
    "a tag of somebody": ("optimizer: !mine {a: 1}", TAG),
    "no truth": ("optimizer: {type: !!bool maybe}", "is not YAML"),
    "no number": ("optimizer: {type: !!int ''}", "is not YAML"),
    "no date": ("optimizer: {lr: 2020-13-45}", "is not YAML: month must be in 1..12"),
    "a date": ("optimizer: {lr: 2020-01-02}", "optimizer.lr: must be plain data, not datetime.date"),
    "bytes": ("optimizer: {type: !!binary aGk=}", "optimizer.type: must be plain data, not b'hi'"),
    "a set": ("optimizer: {type: !!set {a}}", "optimizer.type: must be plain data"),
    "not a number": ("optimizer: {type: adamw, lr: .nan}", "optimizer.lr: must be a finite number, not nan"),
    "infinity": ("optimizer: {type: adamw, lr: -.inf}", "optimizer.lr: must be a finite number, not -inf"),
    "a truth as a key": ("optimizer: {type: adamw, on: 1}", "optimizer: keys must be names, not True"),
    "a huge number": ("optimizer: {type: adamw, lr: 0x" + "f" * 20_000 + "}", "optimizer.lr: .* at most 64 bits"),
    "a long number": ("optimizer: {type: adamw, lr: " + "9" * 5000 + "}", "is not YAML: .*digits"),
    "a long number in base 60": ("a: 1" + ":1" * 100_000, "an integer in base 60 has at most 100 characters in line 1"),
    "a flat list": ("optimizer: [" + "1," * 100_000 + "]", r"holds more than 10000 values \(in "),
    "a flat mapping": ("".join(f"k{i}: 1\n" for i in range(6000)), "holds more than 10000 values"),
    "no dialect": ("optimiser: {type: adamw}", "of no known dialect.*'optimiser'"),
    "no keys": ("{}", "of no known dialect.*nothing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_wrong_file_is_an_error_that_says_what_is_wrong(kind, tmp_path, monkeypatch):
    content, message = WRONG_FILES[kind]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    if content is not None:
        written(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as caught:
        make_plan(path, MODEL)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert "dialect" in str(caught.value) or "config.yaml" in str(caught.value)
    assert not (tmp_path / "MARK").exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("{'a': 1}", "is not JSON"),
        (VALID, "is not JSON"),
        ("[1]", r"must hold a mapping, not \[1\]"),
        ("[" * 100_000, "is not JSON: it is nested too deep"),
        ('{"optimizer":' * 10_000 + "1" + "}" * 10_000, "nested (too deep|deeper than)"),
        ('{"optimizer": {"type": "adamw", "lr": 1, "lr": 2}}', "is not JSON: key 'lr' stands twice"),
        ('{"optimizer": {"type": "adamw", "lr": NaN}}', "optimizer.lr: must be a finite number"),
        ('{"optimizer": {"type": "adamw", "lr": 1e999}}', "optimizer.lr: must be a finite number"),
        ('{"optimizer": {"type": "adamw", "lr": ' + "9" * 5000 + "}}", "is not JSON: .*digits"),
        ("\ufeff{}", "is not JSON"),
        ("null", "is empty"),
    ],
)
def test_wrong_json_is_an_error_that_says_what_is_wrong(content, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        make_plan(written(tmp_path, content, "config.json"), MODEL)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "path", ["", ".", "a\0b", "nowhere/config.yaml", "\ud800.yaml", "x" * 5000, "/dev/null/x.yaml"]
)
def test_a_path_that_leads_nowhere_is_an_error(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        make_plan(path, MODEL)
    str(caught.value).encode("utf-8", "backslashreplace")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no endless file here")
def test_an_endless_file_is_too_large():
    with pytest.raises(ConfigError, match="is too large"):
        make_plan("/dev/zero", MODEL)


def test_the_limits_hold_for_all_inherited_files_together(tmp_path):
    text = f"BASE: [b.yaml]\noptimizer: {{type: adamw}}\nx: [{'1,' * 3000}]\n"
    for name, base in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "")):
        (tmp_path / f"{name}.yaml").write_text(text.replace("b.yaml", f"{base}.yaml" if base else ""))
    with pytest.raises(ConfigError, match=r"holds more than 10000 values \(in .*d.yaml\)"):
        load(str(tmp_path / "a.yaml"), {"optimizer": None})
    for name in "abcd":
        with (tmp_path / f"{name}.yaml").open("a") as file:
            file.write("#" * 2**17)
    with pytest.raises(ConfigError, match=rf"b.yaml is too large: a config has at most {MAX_BYTES} bytes"):
        load(str(tmp_path / "a.yaml"), {"optimizer": None})


def test_a_json_file_of_the_largest_size_is_refused_with_the_limit(tmp_path):
    (tmp_path / "a.json").write_text('{"optimizer": [' + "0," * 120_000 + "0]}")
    with pytest.raises(ConfigError, match="holds more than 10000 values"):
        load(str(tmp_path / "a.json"), {"optimizer": None})
    (tmp_path / "a.json").write_text("{" + "".join(f'"{i}": 0,' for i in range(20_000)) + '"7": 1}')
    with pytest.raises(ConfigError, match="is not JSON: key '7' stands twice"):
        load(str(tmp_path / "a.json"), {"optimizer": None})


# --- BASE -------------------------------------------------------------------------------------


def test_base_files_lie_beneath_and_later_ones_and_the_file_itself_win(tmp_path):
    (tmp_path / "below").mkdir()
    written(tmp_path, "TRAIN: {BASE_LR: 1.0, WEIGHT_DECAY: 1.0, OPTIMIZER: {NAME: sgd}}", "below/first.yaml")
    written(tmp_path, "BASE: ['', deep.yaml]\nTRAIN: {WEIGHT_DECAY: 2.0}", "below/second.yaml")
    written(tmp_path, "TRAIN: {BASE_LR: 4.0, WEIGHT_DECAY: 4.0, OPTIMIZER: {MOMENTUM: 0.5}}", "below/deep.yaml")
    top = written(tmp_path, "BASE: [below/first.yaml, below/second.yaml]\nTRAIN: {LR_LAYER_DECAY: false}")
    assert load(str(top), KEYS) == {
        "TRAIN": {
            "BASE_LR": 4.0,
            "WEIGHT_DECAY": 2.0,
            "OPTIMIZER": {"NAME": "sgd", "MOMENTUM": 0.5},
            "LR_LAYER_DECAY": False,
        }
    }


@pytest.mark.parametrize("base", ["['']", "''", "[]", "null", "~"])
def test_an_empty_base_is_none(base, tmp_path):
    assert load(str(written(tmp_path, f"BASE: {base}\n{VALID}")), KEYS)["optimizer"]["type"] == "adamw"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("config.yaml", r"is its own BASE: config\.yaml → config\.yaml"),
        ("[other.yaml]", r"is its own BASE: config\.yaml → other\.yaml → config\.yaml"),
        ("nowhere.yaml", r"nowhere\.yaml: No such file or directory"),
        ("[3]", r"^BASE: must be a list of files, not \(3,\) \(in .*config\.yaml\)$"),
        ("3", r"^BASE: must be a list of files, not 3 "),
        ("{a: b}", r"^BASE: must be a list of files, not \{'a': 'b'\} "),
        ("[broken.yaml]", r"broken\.yaml is not YAML"),
        ("[strange.yaml]", r"^TRAIN\.BASE_LR: must be a finite number, not nan \(in .*strange\.yaml\)$"),
    ],
)
def test_a_wrong_base_is_an_error(base, message, tmp_path):
    written(tmp_path, "BASE: config.yaml", "other.yaml")
    written(tmp_path, "a: [", "broken.yaml")
    written(tmp_path, "TRAIN: {BASE_LR: .nan}", "strange.yaml")
    with pytest.raises(ConfigError, match=message):
        make_plan(written(tmp_path, f"BASE: {base}\nTRAIN: {{}}"), MODEL)


def test_bases_that_multiply_are_cut_off(tmp_path):
    for i in range(40):
        written(tmp_path, f"BASE: [f{i + 1}.yaml, f{i + 1}.yaml]\nTRAIN: {{}}", f"f{i}.yaml")
    written(tmp_path, "TRAIN: {}", "f40.yaml")
    with pytest.raises(ConfigError, match="more than 100 files inherit from each other"):
        make_plan(tmp_path / "f0.yaml", MODEL)


# --- what is read -----------------------------------------------------------------------------


def test_the_values_of_keys_of_no_dialect_are_not_read():
    raw = {"TRAIN": {"BASE_LR": [1], "EMA": {1, 2}}, "DATA": print, "optimizer": {"x": (1,)}, 3: object()}
    assert readable(raw, {"TRAIN": ("BASE_LR",), "optimizer": None}) == {
        "TRAIN": {"BASE_LR": (1,), "EMA": None},
        "DATA": None,
        "optimizer": {"x": (1,)},
        "3": None,
    }
    assert readable({"TRAIN": [1]}, {"TRAIN": ("BASE_LR",)}) == {"TRAIN": (1,)}
