"""The hook for pre-commit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from pre_commit.clientlib import load_manifest

from optimbuild import Inventory, ParamInfo
from optimbuild.cli import main

ROOT = Path(__file__).parents[1]
DEFINITION = ROOT / ".pre-commit-hooks.yaml"
(HOOK,) = load_manifest(DEFINITION)
CONFIG = "optimizer: {type: adamw, lr: 0.001, weight_decay: 0.05}\nrules: [{type: no_decay}]\n"


def test_the_hook_runs_the_check_of_the_whole_lock_file_once() -> None:
    assert HOOK["id"] == "optimbuild-check"
    assert (HOOK["entry"], HOOK["args"], HOOK["pass_filenames"]) == ("optimbuild check", [], False)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("plans.lock", True),
        ("training/plans.lock", True),
        ("configs/vit.yaml", True),
        ("configs/vit.yml", True),
        ("configs/gan.py", True),
        ("inventories/vit.json", True),
        ("myplans.lock", False),
        ("README.md", False),
    ],
)
def test_the_hook_looks_at_files_that_may_change_a_plan(name: str, is_one: bool) -> None:
    assert bool(re.search(HOOK["files"], name)) == is_one


def project_without_dependencies(folder: Path) -> Path:
    """Return a copy of the project to install from, which lets the environment of the tests give it what it needs."""
    folder.mkdir()
    for name in ("optimbuild", "pyproject.toml", "README.md", "LICENSE", DEFINITION.name):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    project = folder / "pyproject.toml"
    project.write_text(re.sub(r"^dependencies = \[.*?^\]", "dependencies = []", project.read_text(), flags=re.S | re.M))
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def committed(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.slow
def test_pre_commit_installs_the_hook_and_stops_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_without_dependencies(tmp_path / "project")
    mine = tmp_path / "training"
    mine.mkdir()
    model = Inventory([ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))])
    (mine / "a.yaml").write_text(CONFIG)
    (mine / "m.json").write_text(json.dumps(model.to_dict()))
    hook = {"repo": str(project), "rev": committed(project), "hooks": [{"id": HOOK["id"]}]}
    (mine / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [hook]}))
    monkeypatch.chdir(mine)
    assert main(["check", "a.yaml", "-m", "m.json", "--update"]) == 0
    committed(mine)
    here = os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}

    def pre_commit(*arguments: str, **more: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pre_commit", *arguments]
        ran = subprocess.run(command, env=here | more, capture_output=True, text=True, timeout=300)
        return ran.returncode, ran.stdout + ran.stderr

    status, told = pre_commit("install-hooks")
    assert status == 0, told
    packages = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    status, told = pre_commit("run", "--all-files", **packages)
    assert (status, "Passed" in told) == (0, True), told
    (mine / "a.yaml").write_text(CONFIG.replace("0.001", "0.002"))
    git(mine, "add", "a.yaml")
    status, told = pre_commit("run", **packages)
    assert (status, "+  lr 0.002, weight_decay 0.05; 1 tensor" in told) == (1, True), told
    git(mine, "checkout", "--quiet", "HEAD", "a.yaml")
    (mine / "notes.txt").write_text("nothing about plans")
    git(mine, "add", "notes.txt")
    status, told = pre_commit("run", **packages)
    assert (status, "no files to check" in told) == (0, True), told
