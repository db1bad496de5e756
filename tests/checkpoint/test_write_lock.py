"""One process at a time saves into a directory, and without locks nothing is lost either."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, save
from optimbuild.checkpoint.manifest import MANIFEST_FILE, Manifest
from optimbuild.checkpoint.save_folder import mark
from optimbuild.checkpoint.write_lock import LOCK_FILE
from optimbuild.errors import OptimBuildWarning
from tests.checkpoint.training import built, trained
from tests.distributed import run

KEPT = ["step", "exp_avg", "exp_avg_sq"]


def content(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_second_writer_is_refused_and_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    _, optimizer = trained()
    save(optimizer, tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / LOCK_FILE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(CheckpointError, match="another process is saving into this directory"):
            save(optimizer, tmp_path)
        load(optimizer, tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    save(optimizer, tmp_path)


HOLDING = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("locked", flush=True)
sys.stdin.read()
"""


def save_often(directory: str, count: int, start: float) -> list[str]:
    """Save again and again, beside other processes that do the same, and return how each save ended."""
    dist.destroy_process_group()
    optimizer = marked(start)
    while time.time() < start:
        time.sleep(0.001)
    ends = []
    for _ in range(count):
        try:
            save(optimizer, directory)
            ends.append("saved")
        except CheckpointError as error:
            ends.append(str(error))
    dist.init_process_group("gloo", init_method=f"file://{directory}.{os.getpid()}", rank=0, world_size=1)
    return ends


def marked(value: float) -> torch.optim.Optimizer:
    _, optimizer = trained(steps=1)
    for found in optimizer.state.values():
        for key in KEPT:
            found[key].fill_(value)
    return optimizer


def test_of_two_writers_at_once_one_is_refused_and_the_directory_loads(tmp_path: Path) -> None:
    ends = run(3, save_often, str(tmp_path / "run"), 20, time.time() + 2)
    flat = [end for each in ends for end in each]
    assert "saved" in flat
    assert all(end == "saved" or "another process is saving" in end for end in flat)
    assert flat.count("saved") < len(flat)
    _, fresh = built()
    assert load(fresh, tmp_path / "run").loaded
    assert content(tmp_path / "run") == {MANIFEST_FILE, LOCK_FILE, Manifest.read(tmp_path / "run").data}


def no_flock(*args: Any) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


def test_without_locks_a_save_warns_and_removes_only_what_it_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, optimizer = trained()
    save(optimizer, tmp_path)
    first = Manifest.read(tmp_path).data
    monkeypatch.setattr("fcntl.flock", no_flock)
    other = tmp_path / "data-0123456789abcdef"
    other.mkdir()
    mark(other)  # a save of another process, which is under way
    with pytest.warns(OptimBuildWarning, match="this file system has no locks"):
        save(optimizer, tmp_path)
    assert first not in content(tmp_path)
    assert {other.name, Manifest.read(tmp_path).data} <= content(tmp_path)
    load(optimizer, tmp_path)


def test_without_locks_a_save_that_was_replaced_meanwhile_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process commits right after this one, before this one removes what is old."""
    _, optimizer = trained()
    save(optimizer, tmp_path)
    monkeypatch.setattr("fcntl.flock", no_flock)
    write = Manifest.write
    inner: list[str] = []

    def write_and_be_replaced(self: Manifest, directory: Path) -> None:
        write(self, directory)
        if not inner:
            inner.append(self.data)
            save(optimizer, tmp_path)

    monkeypatch.setattr(Manifest, "write", write_and_be_replaced)
    with pytest.warns(OptimBuildWarning, match="no locks"):
        save(optimizer, tmp_path)
    assert Manifest.read(tmp_path).data != inner[0]
    load(optimizer, tmp_path)


# --- kills ------------------------------------------------------------------------------------


def saving_process(directory: str, seconds: float) -> None:
    """Save one state after another, each of one number, until this process is killed."""
    torch.set_num_threads(1)
    _, optimizer = trained(steps=1)
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    for count in range(1, 100_000):
        for found in optimizer.state.values():
            for key in KEPT:
                found[key].fill_(count)
        with suppress(CheckpointError):
            save(optimizer, directory)


@pytest.mark.slow
def test_writers_that_are_killed_beside_each_other_leave_a_whole_save(tmp_path: Path) -> None:
    rng = random.Random(0)
    for i in range(4):
        home = tmp_path / str(i)
        save(marked(0), home)
        children = [
            multiprocessing.get_context("forkserver").Process(
                target=saving_process, args=(str(home), 0.3 + rng.random() * 0.5)
            )
            for _ in range(3)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [-signal.SIGKILL] * 3
        _, fresh = built()
        assert load(fresh, home).loaded
        values = [value for found in fresh.state.values() for value in found.values()]
        assert len({float(value.min()) for value in values} | {float(value.max()) for value in values}) == 1
        save(fresh, home)
        empty = {path.name for path in home.iterdir() if path.is_dir() and not content(path)}
        assert content(home) - empty == {  # a folder whose maker died before it wrote the marker stays, empty
            MANIFEST_FILE,
            LOCK_FILE,
            Manifest.read(home).data,
        }
