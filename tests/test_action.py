"""The GitHub Action, step by step, in real repositories of git. The service is not here: `gh` is a stand-in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from optimbuild import Inventory, ParamInfo
from optimbuild.cli import main

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
MODEL = Inventory([ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))])
CONFIG = "optimizer: {type: adamw, lr: 0.001, weight_decay: 0.05}\nrules: [{type: no_decay}]\n"
MARK = "<!-- optimbuild check of ./plans.lock -->"

# Stands in for the service: keeps comments in a file, answers the calls of the action, and records them.
GH = """#!{python}
import json, os, sys
arguments, store = sys.argv[1:], {store!r}
data = json.load(open(store))
data["calls"].append(arguments)
fails = data["forbidden"]
if not fails and "--jq" in arguments:
    print(*[str(c["id"]) for c in data["comments"] if c["body"].startswith(os.environ["MARK"])], sep="\\n")
elif not fails:
    path = next(a for a in arguments if a.startswith("repos/"))
    body = open(arguments[-1].removeprefix("body=@")).read()
    if "PATCH" in arguments:
        next(c for c in data["comments"] if path.endswith("/" + str(c["id"])))["body"] = body
    else:
        data["comments"].append({{"id": 100 + len(data["comments"]), "body": body}})
json.dump(data, open(store, "w"))
sys.exit("HTTP 403: Resource not accessible by integration" if fails else 0)
"""


class Runner:
    """Runs the steps of the action as GitHub's runner does, in a clone of a repository with a base and a head."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.clone, self.temp, self.bin = [folder / name for name in ("origin", "clone", "temp", "bin")]
        for made in (self.origin, self.temp, self.bin):
            made.mkdir()
        self.store = folder / "store.json"
        self.log = ""
        self.service(forbidden=False, comments=[{"id": 7, "body": "> " + MARK}])
        self.program("gh", GH.format(python=sys.executable, store=str(self.store)))
        self.program("optimbuild", f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m optimbuild "$@"\n')
        self.git("init", "--quiet", "--initial-branch=main")

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def service(self, **changed: Any) -> None:
        before = json.loads(self.store.read_text()) if self.store.exists() else {}
        self.store.write_text(json.dumps({**before, "calls": [], **changed}))

    @property
    def bodies(self) -> list[str]:
        return [comment["body"] for comment in json.loads(self.store.read_text())["comments"]]

    @property
    def methods(self) -> list[str]:
        calls = json.loads(self.store.read_text())["calls"]
        return [call[call.index("--method") + 1] if "--method" in call else "GET" for call in calls]

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=self.origin, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            (self.origin / name.replace("_", ".")).write_text(text)
        self.git("add", "-A")
        self.git("commit", "--quiet", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    def lock(self) -> None:
        with contextlib.chdir(self.origin):
            assert main(["check", "a.yaml", "-m", "m.json", "--update"]) == 0

    def pull(self, base: str) -> int:
        """Check out the head, as deep as the checkout of a workflow is, run the steps, and return the status."""
        shutil.rmtree(self.clone, ignore_errors=True)
        self.git("clone", "--quiet", "--depth=1", f"file://{self.origin}", str(self.clone))
        files = {name: self.temp / name for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
        for path in files.values():
            path.write_text("")
        event = {
            "github.event.pull_request.base.sha": base,
            "github.event.pull_request.number": "5",
            "github.repository": "them/training",
            "github.token": "secret",
            "github.action_path": str(ROOT),
            **{f"inputs.{name}": option["default"] for name, option in ACTION["inputs"].items()},
        }
        for step in ACTION["runs"]["steps"]:
            output = files["GITHUB_OUTPUT"].read_text().strip()
            known = event | {"steps.check.outputs.status": output.removeprefix("status=")}
            if not base and "pull_request" in step.get("if", ""):
                continue
            environment = {key: filled(value, known) for key, value in step.get("env", {}).items()}
            ran = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.clone,
                env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "RUNNER_TEMP": str(self.temp)}
                | {name: str(path) for name, path in files.items()} | environment,
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            self.log += ran.stdout
            if ran.returncode:
                return ran.returncode
        return 0

    @property
    def summary(self) -> str:
        return (self.temp / "GITHUB_STEP_SUMMARY").read_text()


def filled(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found[1]], text)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(tmp_path)
    made.commit(a_yaml=CONFIG, m_json=json.dumps(MODEL.to_dict()))
    made.lock()
    return made


def test_a_pull_request_is_commented_once_and_the_comment_kept_up_to_date(runner: Runner) -> None:
    base = runner.commit()
    runner.commit(a_yaml=CONFIG.replace("0.001", "0.002"))
    assert runner.pull(base) == 1  # the lock file was not updated
    assert runner.methods == ["GET", "POST"]
    told = runner.bodies[1]
    assert told.startswith(f"{MARK}\n<!-- optimbuild check: something to tell -->\n### Plans\n")
    assert "changed  plans.lock has " in told
    assert "-  lr 0.001, weight_decay 0.05; 1 tensor, 16 elements\n+  lr 0.002" in told
    assert runner.summary in told
    runner.service()
    runner.commit(a_yaml=CONFIG)
    assert runner.pull(base) == 0  # where nothing is left to tell, the comment says so
    assert runner.methods == ["GET", "PATCH"]
    assert "1 plan: no change, no problem." in runner.bodies[1]
    assert runner.bodies[0] == f"> {MARK}"  # somebody's answer stays


@pytest.mark.slow
def test_nothing_to_tell_is_no_comment(runner: Runner) -> None:
    base = runner.commit()
    runner.commit(readme="hello")
    assert runner.pull(base) == 0
    assert runner.methods == ["GET"]
    assert "1 plan: no change, no problem." in runner.summary


def test_without_the_permission_to_comment_the_summary_has_it(runner: Runner) -> None:
    base = runner.commit()
    runner.commit(a_yaml=CONFIG.replace("0.001", "0.002"))
    runner.service(forbidden=True)
    assert runner.pull(base) == 1
    assert len(runner.bodies) == 1
    assert "+  lr 0.002" in runner.summary


@pytest.mark.slow
def test_a_change_that_was_locked_passes_and_is_told(runner: Runner) -> None:
    base = runner.commit()
    runner.commit(a_yaml=CONFIG.replace("0.001", "0.002"))
    runner.lock()
    runner.commit()
    assert runner.pull(base) == 0
    assert "1 plan: 1 changed.\n" in runner.bodies[1]


@pytest.mark.slow
def test_plans_are_new_where_the_base_has_no_lock_file(runner: Runner) -> None:
    base = runner.git("rev-parse", "HEAD")
    runner.commit()
    assert runner.pull(base) == 0
    assert "1 plan: 1 new." in runner.bodies[1]


@pytest.mark.slow
def test_trouble_fails_and_is_told_in_the_comment(runner: Runner) -> None:
    base = runner.commit()
    runner.commit(plans_lock="<<<<<<< HEAD\n")
    assert runner.pull(base) == 2
    assert "optimbuild check found trouble: see the log" in runner.bodies[1]


@pytest.mark.slow
def test_a_pull_request_can_mend_the_lock_file_of_its_base(runner: Runner) -> None:
    good = (runner.origin / "plans.lock").read_text()
    base = runner.commit(plans_lock="version: 0\n")
    runner.commit(plans_lock=good)
    assert runner.pull(base) == 0
    assert "1 plan: no change, no problem." in runner.summary


@pytest.mark.slow
def test_a_base_that_cannot_be_fetched_is_told(runner: Runner) -> None:
    runner.commit()
    assert runner.pull("0" * 40) == 0
    assert "::warning::the base of the pull request could not be fetched" in runner.log


@pytest.mark.slow
def test_a_push_is_checked_without_a_comment(runner: Runner) -> None:
    runner.commit()
    assert runner.pull("") == 0
    assert runner.methods == []
    assert "::" not in runner.log
    assert "1 plan: no change, no problem." in runner.summary


def test_no_text_of_an_event_is_pasted_into_a_script() -> None:
    assert all("${{" not in step["run"] for step in STEPS.values())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_filter_of_comments_is_one_of_jq() -> None:
    expression = re.search(r"--jq '(.*?)'", STEPS["Comment on the pull request"]["run"])
    assert expression is not None
    comments = [{"id": 1, "body": "> " + MARK}, {"id": 2, "body": MARK + "\ntext"}, {"id": 3, "body": ""}]
    ran = subprocess.run(
        ["jq", "-r", expression[1]],
        input=json.dumps(comments), env={**os.environ, "MARK": MARK}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "2\n"
