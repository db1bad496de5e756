"""A save in a directory is complete and right, or an error: on any number of ranks, killed, cut off or altered."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from optimbuild import CheckpointError, OptimBuildError
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from optimbuild.checkpoint.manifest import MANIFEST_FILE, Manifest
from tests.checkpoint.training import CONFIG, PROBING, SGD, built, net, plain, resumed, same, train, trained, weights
from tests.distributed import outcomes_of, run

CONFIGS = {"adamw": CONFIG, "sgd": SGD, "probing": PROBING}
KEPT = ["step", "exp_avg", "exp_avg_sq"]


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
    (data,) = (path for path in tmp_path.iterdir() if path.name != MANIFEST_FILE)
    assert data.name == Manifest.read(tmp_path).data
    _, fresh = resumed(model)
    load(fresh, tmp_path)
    assert {float(found["step"]) for found in fresh.state.values()} == {7.0}


def test_what_a_killed_run_left_behind_goes_with_the_next_save(tmp_path: Path) -> None:
    left = "data-0123456789abcdef"
    (tmp_path / left).mkdir()
    (tmp_path / left / "__0_0.distcp").write_bytes(b"half")
    (tmp_path / f"{MANIFEST_FILE}.{left}").write_text("{")
    (tmp_path / "notes.txt").write_text("somebody's own")
    save(trained()[1], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST_FILE, Manifest.read(tmp_path).data, "notes.txt"}


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
    assert "weight_decay of 9 parameters: 0.05 → 0.01: " in str(report)
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
    files = sorted(path for path in directory.rglob("*") if path.is_file())
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


# --- several ranks ----------------------------------------------------------------------------


def zero(config: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {**config, "zero": options or True}


def save_in_the_middle(directory: str) -> dict[str, Any]:
    """Train to step 5, save in every way there is, and go on to step 10."""
    found = {}
    for name, config in CONFIGS.items():
        model, optimizer = trained(zero(config))
        home = Path(directory) / name
        save(optimizer, home)
        state = optimizer_state(optimizer, to_rank=2)
        optimizer.consolidate_state_dict(to=1)  # type: ignore[attr-defined]
        if dist.get_rank() == 1:
            torch.save(optimizer.state_dict(), home / "consolidated.pt")
            torch.save(model.state_dict(), home / "model.pt")
        if dist.get_rank() == 2:
            torch.save(state, home / "state.pt")
        else:
            assert state == {}
        everyones = optimizer_state(optimizer)
        if dist.get_rank() == 2:
            assert same(everyones, state)
        dist.barrier()
        train(model, optimizer, range(5, 10))
        found[name] = plain(weights(model))
    return found


def resume_in_every_way(directory: str, sharded: bool) -> dict[str, list[Any]]:
    """Load what was saved at step 5 in each of the ways, and go on to step 10."""
    found: dict[str, list[Any]] = {}
    for name, config in CONFIGS.items():
        home = Path(directory) / name
        for how in ("directory", "state", "consolidated", "load_state_dict"):
            if sharded:
                config = zero(config, bucket_view=how != "state")
            model, optimizer = built(config)
            model.load_state_dict(torch.load(home / "model.pt", weights_only=True))
            if how == "directory":
                load(optimizer, home)
            elif how == "load_state_dict":
                optimizer.load_state_dict(torch.load(home / "consolidated.pt", weights_only=True))
            else:
                load_optimizer_state(optimizer, torch.load(home / f"{how}.pt", weights_only=True))
            if sharded:
                named = sum(len(found) > 0 for found in optimizer.optim.state.values())  # type: ignore[attr-defined]
                assert named == sum(len(group["params"]) for group in optimizer.optim.param_groups)  # type: ignore[attr-defined]
                assert not optimizer.state
            train(model, optimizer, range(5, 10))
            found.setdefault(name, []).append(plain(weights(model)))
    return found


def test_what_four_ranks_saved_resumes_on_any_number_of_ranks_and_on_none(tmp_path: Path) -> None:
    """Equal to the uninterrupted run bit for bit: from a directory, a file, and ZeRO's own consolidated state."""
    directory = str(tmp_path)
    whole = {}
    for name, config in CONFIGS.items():
        model, optimizer = trained(config)
        train(model, optimizer, range(5, 10))
        whole[name] = plain(weights(model))
    for rank, found in enumerate(run(4, save_in_the_middle, directory)):
        assert found == whole, f"rank {rank} of the uninterrupted run"
    parts = [path.stat().st_size for path in (tmp_path / "adamw").rglob("*.distcp")]
    assert len(parts) == 4
    assert max(parts) < 0.5 * sum(parts)  # each rank wrote its own
    results = {"plain": [resume_in_every_way(directory, False)]}
    for ranks in (3, 2, 1):
        results[f"{ranks} ranks"] = run(ranks, resume_in_every_way, directory, True)
    for where, by_rank in results.items():
        for found in by_rank:
            for name, ways in found.items():
                assert all(way == whole[name] for way in ways), f"{name} on {where}"


def save_plain(directory: str) -> None:
    """Save what every rank holds alike, as under DistributedDataParallel."""
    _, optimizer = trained()
    save(optimizer, directory)


def load_sharded_and_damaged(directory: str) -> tuple[dict[str, Any], str]:
    """Load on ranks that shard, and then a damaged copy, which must fail on every rank and change none."""
    _, optimizer = trained(zero(CONFIG), steps=2)
    load(optimizer, Path(directory) / "good")
    state = plain(optimizer_state(optimizer))
    with pytest.raises(CheckpointError) as caught:
        load(optimizer, Path(directory) / "bad")
    assert plain(optimizer_state(optimizer)) == state
    return state, str(caught.value)


def test_damage_of_a_replicated_state_is_an_error_on_all_ranks(tmp_path: Path) -> None:
    run(2, save_plain, str(tmp_path / "good"))
    size = sum(path.stat().st_size for path in (tmp_path / "good").rglob("*.distcp"))
    _, optimizer = trained()
    save(optimizer, tmp_path / "alone")
    alone = sum(path.stat().st_size for path in (tmp_path / "alone").rglob("*.distcp"))
    assert size < 1.1 * alone
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    damaged = max((tmp_path / "bad").rglob("*.distcp"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    results = run(2, load_sharded_and_damaged, str(tmp_path))
    assert all(state == plain(optimizer_state(optimizer)) for state, _ in results)
    assert all(f"{damaged.name} was altered" in message for _, message in results)
    assert sum(message.startswith("rank ") for _, message in results) == 1


def save_until_killed(directory: str, victims: tuple[int, ...], delay: float) -> None:
    """Save one state after another, until ranks are killed in the middle of a save."""
    _, optimizer = trained(zero(CONFIG), steps=1)
    for count in range(1, 1000):
        for found in optimizer.optim.state.values():  # type: ignore[attr-defined]
            for key in KEPT:
                found[key].fill_(count)
        if count == 3 and dist.get_rank() in victims:
            threading.Thread(target=kill_while_saving, args=(directory, delay), daemon=True).start()
        save(optimizer, directory)


def kill_while_saving(directory: str, delay: float) -> None:
    """Kill this very process some time after the data of the next save has begun to appear."""
    before = set(os.listdir(directory))
    while set(os.listdir(directory)) <= before:
        time.sleep(0)
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_rank_killed_during_a_save_leaves_the_last_save_whole(tmp_path: Path) -> None:
    """Wherever it dies: what is there afterwards is one of the saves, all of it, and the next save works."""
    rng = random.Random(0)
    left_behind = 0
    for i, victims in enumerate([(0,), (1,), (0, 1)] * 2):
        home = tmp_path / str(i)
        outcomes = outcomes_of(2, save_until_killed, str(home), victims, rng.random() * 0.05)
        killed = {rank for rank, outcome in enumerate(outcomes) if outcome.exit_code == -signal.SIGKILL}
        assert killed
        assert killed <= set(victims)
        for rank in {0, 1} - killed:  # a second victim may see that the first is gone before its own time comes
            assert "CheckpointError" in outcomes[rank].failure
        data = {path.name for path in home.iterdir() if path.is_dir()}
        left_behind += data != {Manifest.read(home).data}
        model, optimizer = resumed(net())
        assert len(load(optimizer, home).loaded) == len(weights(model))
        values = [value for found in optimizer.state.values() for value in found.values()]
        counts = {float(value.min()) for value in values} | {float(value.max()) for value in values}
        assert len(counts) == 1
        assert counts.pop() >= 2
        save(optimizer, home)
        assert {path.name for path in home.iterdir()} == {MANIFEST_FILE, Manifest.read(home).data}
    assert left_behind
