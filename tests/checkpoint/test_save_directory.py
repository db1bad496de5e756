"""A save in a directory is complete and right, or an error: on any number of ranks, killed, cut off or altered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, optimizer_state, save
from optimbuild.checkpoint.manifest import MANIFEST_FILE, METADATA, Manifest
from optimbuild.checkpoint.save_folder import MARKER, mark
from optimbuild.checkpoint.write_lock import LOCK_FILE
from tests.checkpoint.training import CONFIG, PROBING, SGD, built, resumed, same, train, trained, weights

CONFIGS = {"adamw": CONFIG, "sgd": SGD, "probing": PROBING}
KEPT = ["step", "exp_avg", "exp_avg_sq"]


def content(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_training_resumed_from_a_directory_equals_the_uninterrupted_one(tmp_path: Path, config: Any) -> None:
    whole, optimizer = trained(config)
    save(optimizer, tmp_path / "new" / "place")
    again, fresh = resumed(whole, config)
    report = load(fresh, tmp_path / "new" / "place")
    assert not report.changes
    assert same(optimizer_state(fresh), optimizer_state(optimizer))
    train(again, fresh, range(5, 10))
    train(whole, optimizer, range(5, 10))
    assert same(weights(again), weights(whole))


def test_a_new_save_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    model, optimizer = trained()
    save(optimizer, tmp_path)
    train(model, optimizer, range(5, 7))
    save(optimizer, tmp_path)
    assert content(tmp_path) == {MANIFEST_FILE, LOCK_FILE, Manifest.read(tmp_path).data}
    _, fresh = resumed(model)
    load(fresh, tmp_path)
    assert {float(found["step"]) for found in fresh.state.values()} == {7.0}


def test_what_a_killed_run_left_behind_goes_with_the_next_save(tmp_path: Path) -> None:
    left = tmp_path / "data-0123456789abcdef"
    left.mkdir()
    mark(left)
    (left / "__0_0.distcp").write_bytes(b"half")
    (left / MANIFEST_FILE).write_text("{")
    (tmp_path / "notes.txt").write_text("somebody's own")
    save(trained()[1], tmp_path)
    assert content(tmp_path) == {MANIFEST_FILE, LOCK_FILE, Manifest.read(tmp_path).data, "notes.txt"}


def test_a_save_before_the_first_step_loads_as_no_state(tmp_path: Path) -> None:
    save(built()[1], tmp_path)
    _, fresh = built()
    assert load(fresh, tmp_path).loaded == ()
    assert not fresh.state


def test_a_directory_that_does_not_fit_is_refused_like_a_file(tmp_path: Path) -> None:
    whole, optimizer = trained()
    save(optimizer, tmp_path)
    _, other = resumed(whole, SGD)
    with pytest.raises(CheckpointError, match="saved without momentum_buffer"):
        load(other, tmp_path)
    slower = {**CONFIG, "optimizer": {**CONFIG["optimizer"], "weight_decay": 0.01}}
    _, fresh = resumed(whole, slower)
    report = load(fresh, tmp_path)
    assert "weight_decay of 8 parameters: 0.05 → 0.01: " in str(report)
    load(fresh, tmp_path, options="checkpoint")
    assert {group["weight_decay"] for group in fresh.param_groups} == {0.0, 0.05}


def test_a_directory_that_cannot_be_written_leaves_the_last_save(tmp_path: Path) -> None:
    whole, optimizer = trained()
    save(optimizer, tmp_path)
    optimizer.state[whole.head.weight]["exp_avg"] = [1]
    with pytest.raises(CheckpointError, match=r"keeps \[1\]"):
        save(optimizer, tmp_path)
    _, fresh = resumed(whole)
    assert len(load(fresh, tmp_path).loaded) == len(weights(whole))


def test_where_the_manifest_cannot_be_written_there_is_no_save(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).mkdir()
    with pytest.raises(CheckpointError, match="Is a directory"):
        save(trained()[1], tmp_path)
    with pytest.raises(CheckpointError, match="Is a directory"):
        load(trained()[1], tmp_path)


def test_numbers_that_are_no_tensors_are_saved_too(tmp_path: Path) -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for tensor in group["params"]:
                    self.state[tensor] = {"calls": 3, "ratio": 0.1, "mean": torch.ones(())}

    optimizer = Counting(torch.nn.Linear(2, 2).named_parameters())
    optimizer.step()
    save(optimizer, tmp_path)
    fresh = Counting(torch.nn.Linear(2, 2).named_parameters())
    load(fresh, tmp_path)
    assert all(found == {"calls": 3, "ratio": 0.1, "mean": 1.0} for found in fresh.state.values())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A directory with a save, and beside it what only looks like one."""
    save(trained()[1], tmp_path)
    for name in ("data-train", "data-0123456789abcdef", "data-", "data-0123456789abcdef.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__0_0.distcp").write_text("somebody's own")
    data = tmp_path / Manifest.read(tmp_path).data
    shutil.copytree(data, tmp_path / "data-00000000000000aa")  # a backup: its marker says another name
    (tmp_path / "data-00000000000000bb").write_text("a file")
    (tmp_path / "data-00000000000000cc").symlink_to(data)
    (tmp_path / "optimbuild.json.data-0123456789abcdef").write_text("a backup")
    return tmp_path


def test_a_save_removes_nothing_that_no_save_made(saved: Path) -> None:
    before = content(saved)
    old = Manifest.read(saved).data
    files = sum(path.is_file() for path in saved.rglob("*"))
    for _ in range(2):
        save(trained()[1], saved)
    assert content(saved) == before - {old} | {Manifest.read(saved).data}
    assert sum(path.is_file() for path in saved.rglob("*")) == files


def test_a_foreign_file_in_the_folder_of_a_save_stays(tmp_path: Path) -> None:
    save(trained()[1], tmp_path)
    old = tmp_path / Manifest.read(tmp_path).data
    (old / "notes.txt").write_text("somebody's own")
    left = tmp_path / "data-0123456789abcdef"
    left.mkdir()
    mark(left)
    (left / "notes.txt").write_text("somebody's own")
    save(trained()[1], tmp_path)
    assert content(old) == content(left) == {"notes.txt"}


@pytest.mark.parametrize(("name", "text"), [(MANIFEST_FILE, '{"my": "config"}'), (LOCK_FILE, "mine")])
def test_a_foreign_file_of_our_name_is_not_replaced(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=name):
        save(trained()[1], tmp_path)
    assert (tmp_path / name).read_text() == text
    assert content(tmp_path) <= {MANIFEST_FILE, LOCK_FILE}


def test_a_save_under_torchrun_needs_a_process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CheckpointError, match=r"2 processes .* no process group joins them.*init_process_group"):
        save(trained()[1], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    save(trained()[1], tmp_path / "run")


@pytest.mark.parametrize("path", ["a\0b", None, 3, "\ud800"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    for function in (save, load):
        with pytest.raises(CheckpointError, match="a directory must be a path"):
            function(trained()[1], path)


def test_a_path_with_a_line_break_is_one_line_in_messages(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(trained()[1], tmp_path / "a\nError: b")
    assert "\n" not in str(caught.value)


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    _, optimizer = trained()
    for name in (MANIFEST_FILE, METADATA, MARKER):
        home = tmp_path / name
        save(optimizer, home)
        path = home / name if name == MANIFEST_FILE else home / Manifest.read(home).data / name
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(CheckpointError, match=r"no regular file|bytes instead of"):
            load(optimizer, home)
        if name == MANIFEST_FILE:
            with pytest.raises(CheckpointError, match="no regular file"):
                save(optimizer, home)
        else:
            save(optimizer, home)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / MANIFEST_FILE).symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="no regular file"):
        load(optimizer, tmp_path / "zero")


# --- full disks -------------------------------------------------------------------------------

ON_A_FULL_DISK = """
import os, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", sys.argv[1]], check=True)
import torch
from optimbuild import CheckpointError
from optimbuild.checkpoint import load, save
def optimizer(width):
    model = torch.nn.Linear(width, width)
    found = torch.optim.AdamW(model.named_parameters())
    model(torch.ones(width)).sum().backward()
    found.step()
    return found
small, large = optimizer(4), optimizer(300)
save(small, sys.argv[1])
before = sorted(os.walk(sys.argv[1]))
for _ in range(2):
    try:
        save(large, sys.argv[1])
    except CheckpointError as error:
        print("refused", error)
    assert sorted(os.walk(sys.argv[1])) == before
load(small, sys.argv[1])
print("the previous save loads")
"""


def test_a_full_disk_leaves_the_previous_save_and_nothing_else(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine mounts no file system for tests")
    script = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run([*command, *script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == 2, done.stdout
    assert "the previous save loads" in done.stdout


@pytest.mark.parametrize("directory", ["", "s3://bucket/run", "file:///run", "run\0", b"run", None, 5])
def test_what_is_no_directory_here_is_neither_saved_into_nor_loaded(directory: Any, monkeypatch: Any, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    _, optimizer = built()
    for attempt in (save, load):
        with pytest.raises(CheckpointError, match="a directory must be a path"):
            attempt(optimizer, directory)
    assert list(tmp_path.iterdir()) == []
