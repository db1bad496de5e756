"""Several ranks save and load together, whole or not at all, wherever one of them dies."""

from __future__ import annotations

import copy
import os
import pickle
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

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from optimbuild.checkpoint.manifest import MANIFEST_FILE, Manifest
from optimbuild.checkpoint.write_lock import LOCK_FILE
from tests.checkpoint.training import CONFIG, PROBING, SGD, built, net, plain, resumed, same, train, trained, weights
from tests.distributed import outcomes_of, run

CONFIGS = {"adamw": CONFIG, "sgd": SGD, "probing": PROBING}
KEPT = ["step", "exp_avg", "exp_avg_sq"]


def content(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


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
            loaded: list[str] = []
            optimizer.register_load_state_dict_post_hook(lambda _, how=how, loaded=loaded: loaded.append(how))
            if how == "directory":
                load(optimizer, home)
            elif how == "load_state_dict":
                optimizer.load_state_dict(torch.load(home / "consolidated.pt", weights_only=True))
            else:
                load_optimizer_state(optimizer, torch.load(home / f"{how}.pt", weights_only=True))
            assert loaded == [how]
            if sharded:
                named = sum(len(found) > 0 for found in optimizer.optim.state.values())  # type: ignore[attr-defined]
                assert named == sum(len(group["params"]) for group in optimizer.optim.param_groups)  # type: ignore[attr-defined]
                assert not optimizer.state
            train(model, optimizer, range(5, 10))
            found.setdefault(name, []).append(plain(weights(model)))
    return found


@pytest.mark.slow
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


@pytest.mark.slow
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
        empty = {path.name for path in home.iterdir() if path.is_dir() and not content(path)}
        assert content(home) - empty == {MANIFEST_FILE, LOCK_FILE, Manifest.read(home).data}
    assert left_behind


# --- what ranks must agree on, and groups that are added later --------------------------------


def load_with_other_arguments(directory: str) -> list[str]:
    _, optimizer = trained(zero(CONFIG), steps=1)
    save(optimizer, directory)
    before = plain(optimizer_state(optimizer))
    first = dist.get_rank() == 0
    messages = []
    for choices in (
        {"options": "checkpoint" if first else "config"},
        {"missing": "init" if first else "error"},
        {"unexpected": "ignore" if first else "error"},
        {"rename": None if first else {"blocks.0.": "blocks.1.", "blocks.1.": "blocks.0."}},
        {"rename": (lambda name: name) if first else (lambda name: name[::-1])},
        {"rename": {} if first else 5},
    ):
        with pytest.raises(CheckpointError) as caught:
            load(optimizer, directory, **choices)  # type: ignore[arg-type]
        messages.append(str(caught.value))
    assert plain(optimizer_state(optimizer)) == before
    return messages


def test_ranks_that_load_with_different_arguments_are_refused(tmp_path: Path) -> None:
    for messages in run(2, load_with_other_arguments, str(tmp_path)):
        assert [message.split(":")[0].split()[-1] for message in messages][:5] == [
            "options",
            "missing",
            "unexpected",
            "rename",
            "rename",
        ]
        assert messages[5].endswith("rename must be a mapping of prefixes or a function, not 5")
        assert "'checkpoint' on rank 0, 'config' on rank 1" in messages[0]


def load_different_saves(directory: str) -> str:
    _, optimizer = trained(steps=1)
    group = [dist.new_group([rank]) for rank in range(2)][dist.get_rank()]
    home = Path(directory) / str(dist.get_rank())
    del group
    for each in range(2):
        save(optimizer, Path(directory) / str(each))
    with pytest.raises(CheckpointError) as caught:
        load(optimizer, home)
    return str(caught.value)


def test_ranks_that_see_different_saves_are_refused(tmp_path: Path) -> None:
    assert all("must be given the same save" in message for message in run(2, load_different_saves, str(tmp_path)))


def unfreeze_later(sharded: bool) -> dict[str, Any]:
    config = {**CONFIG, "rules": [*CONFIG["rules"], {"type": "freeze", "patterns": ["blocks.0"]}]}
    model, optimizer = trained(zero(config) if sharded else config, steps=2)
    model.blocks[0].requires_grad_(True)
    optimizer.add_param_group({"params": model.blocks[0].parameters()})
    train(model, optimizer, range(2, 5))
    state = optimizer_state(optimizer)
    assert {name for name, _ in model.named_parameters()} == state["state"].keys()
    return plain(weights(model))


def test_parameters_that_are_unfrozen_under_zero_train_as_without() -> None:
    whole = unfreeze_later(False)
    assert all(found == whole for found in run(2, unfreeze_later, True))


def copy_under_zero() -> None:
    _, optimizer = trained(zero(CONFIG), steps=1)
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(CheckpointError, match="belongs to its ranks"):
            copied(optimizer)


def test_an_optimizer_of_zero_is_not_copied() -> None:
    run(2, copy_under_zero)
