"""A directory that was damaged or does not belong together is refused, and changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from optimbuild import OptimBuildError
from optimbuild.checkpoint import load, optimizer_state, save
from optimbuild.checkpoint.write_lock import LOCK_FILE
from tests.checkpoint.training import resumed, same, train, trained


def test_damaged_saves_of_150_kinds_are_errors_or_do_no_harm(tmp_path: Path) -> None:
    """Cut off, one bit flipped, removed, or taken from another save: an error of ours, or the right state."""
    rng = random.Random(0)
    whole, optimizer = trained()
    save(optimizer, tmp_path / "good")
    right = optimizer_state(optimizer)
    train(whole, optimizer, range(5, 6))
    save(optimizer, tmp_path / "other")
    _, fresh = resumed(whole)
    harmless = []
    for i in range(150):
        bad = tmp_path / f"bad{i}"
        shutil.copytree(tmp_path / "good", bad)
        how = damage(bad, tmp_path / "other", rng, i)
        fresh.state.clear()
        try:
            load(fresh, bad)
        except OptimBuildError:
            assert not fresh.state
        else:
            harmless.append(how)
            assert same(optimizer_state(fresh), right), how
        shutil.rmtree(bad)
    assert len(harmless) < 10, harmless


def damage(directory: Path, other: Path, rng: random.Random, i: int) -> str:
    """Damage a file of a save, each of them in turn."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    path = files[i % len(files)]
    content = bytearray(path.read_bytes())
    how = rng.choice(["cut", "flip", "flip", "remove", "swap", "zero"])
    if how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif how == "flip":
        bit = rng.randrange(len(content) * 8)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        how = f"bit {bit} of {path.name}"
    elif how == "remove":
        path.unlink()
    elif how == "swap":
        theirs = next(found for found in other.rglob("*") if found.name == path.name)
        path.write_bytes(theirs.read_bytes())
    else:
        start = rng.randrange(len(content))
        content[start : start + 64] = bytes(len(content[start : start + 64]))
        path.write_bytes(content)
    return how
