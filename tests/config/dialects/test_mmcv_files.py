"""Config files of mmcv 1.x, with ``optimizer`` at their top: as they are, at the command line and in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from optimbuild import ConfigError, Inventory, ParamInfo, make_plan
from optimbuild.cli import main
from optimbuild.config import read_raw

BASE = (
    "optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)\n"
    "optimizer_config = dict()\nlr_config = dict(policy='poly', power=0.9)\nrunner = dict(type='IterBasedRunner')\n"
)
CHILD = (
    "_base_ = ['../_base_/schedule.py']\n"
    "optimizer = dict(_delete_=True, type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.05,\n"
    "    constructor='CustomLayerDecayOptimizerConstructor',\n"
    "    paramwise_cfg=dict(num_layers=4, layer_decay_rate=0.5, depths=[1, 1, 1, 1], offset_lr_scale=1.0))\n"
    "checkpoint_config = dict(by_epoch=False)\n"
)
NAMES = ("patch_embed.conv1.weight", *[f"levels.{i}.blocks.0.dcn.weight" for i in range(4)])
MODEL = Inventory((*[ParamInfo(f"backbone.{n}", (4, 4)) for n in NAMES], ParamInfo("head.weight", (2, 4))))
LRS = [6e-5 * 0.5 ** (5 - layer) for layer in range(6)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that replaces the optimizer of the file on which it builds."""
    for name, text in {"_base_/schedule.py": BASE, "internimage/child.py": CHILD}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "model.json").write_text(json.dumps(MODEL.to_dict()))
    return tmp_path / "internimage" / "child.py"


def test_a_file_with_a_base_is_read_as_it_is(config: Path) -> None:
    plan = make_plan(str(config), MODEL)
    assert [decision.lr for decision in plan] == pytest.approx(LRS, rel=1e-12)
    assert plan.groups[0].optimizer == "mmengine.AdamW"


def test_the_command_line_reads_such_a_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(config.parents[1] / "model.json")
    assert main(["plan", str(config), "-m", model, "--json"]) == 0
    assert [row["options"]["lr"] for row in json.loads(capsys.readouterr().out)["params"]] == pytest.approx(LRS)
    assert main(["plan", str(config), "-m", model, "--set", "optimizer.lr=0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"][-1]["options"]["lr"] == 0.1


def test_a_config_object_reads_like_its_file(config: Path) -> None:
    assert read_raw(Config.fromfile(str(config))) == read_raw(str(config))


def test_an_optimizer_without_a_constructor_is_mmcvs_too(config: Path) -> None:
    base = config.parents[1] / "_base_" / "schedule.py"
    (group,) = make_plan(str(base), MODEL).groups
    assert group.optimizer == "mmengine.SGD"  # not ours, which has Nesterov momentum
    assert not group.options["nesterov"]


def test_a_file_without_any_optimizer_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("model = dict(type='Net')\n")
    with pytest.raises(ConfigError, match="so no optimizer can be read from it"):
        make_plan(str(tmp_path / "model.py"), MODEL)


def test_our_own_dialect_in_python_is_refused_with_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("optimizer = dict(type='adamw', lr=1e-3)\nrules = [dict(type='no_decay')]\n", "utf-8")
    with pytest.raises(ConfigError, match=r"has rules, as our own dialect does, which is read from YAML or JSON"):
        make_plan(path, MODEL)
