"""Damaged state, and saves that were sealed again after damage: a CheckpointError or the right state, nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, build_optimizer
from optimbuild.checkpoint import load, load_optimizer_state, optimizer_state, save
from optimbuild.checkpoint.manifest import MANIFEST_FILE, sealed
from tests.checkpoint.training import plain, step

CONFIGS = [
    {"optimizer": {"type": "adamw", "lr": 0.1, "amsgrad": True}, "rules": [{"type": "no_decay"}]},
    {"optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9}},
    {"optimizer": {"type": "Adagrad", "lr": 0.1}},
    {"optimizer": {"type": "TorchAdafactor", "lr": 0.1}},
]
RUNS = [300, pytest.param(10_000, marks=pytest.mark.slow)]


def junk(rng: random.Random) -> Any:
    """Return something that is no state, or the wrong one."""
    return rng.choice(
        [
            lambda: None,
            lambda: rng.choice([0, 1, -1, 3, 5, 2**31, 2**63, -(2**63) - 1, 10**400, True]),
            lambda: rng.choice([0.5, 1e308, float("inf"), float("nan"), 1 + 2j]),
            lambda: rng.choice(["", "x", "0", "weight", "0.weight", "step", "load", "float32", "\0", "\ud800"]),
            lambda: rng.choice([b"x", (), [], {}, set(), [1], {"x": 1}, {1: 2}, ((1, 2), 3), object(), object, len]),
            lambda: torch.zeros(rng.choice([(), (1,), (0,), (2, 3), (4,), (3, 4), (3,), (1, 4)])),
            lambda: torch.zeros(3, 4, dtype=rng.choice([torch.float64, torch.int32, torch.bool, torch.complex64])),
            lambda: torch.zeros((), dtype=rng.choice([torch.float64, torch.int64, torch.bool, torch.complex64])),
            lambda: torch.zeros(3, 4, device="meta"),
            lambda: torch.zeros((), device="meta"),
            lambda: torch.zeros(3, 4).to_sparse(),
            lambda: torch.zeros(1).expand(3, 4),
            lambda: nn.Parameter(torch.zeros(3, 4)),
            lambda: torch.zeros(4, 3).t(),
        ]
    )()


def key_junk(rng: random.Random) -> Any:
    return rng.choice([0, 7, -1, None, "x", "0.weight", "step", (), 1.5, True, b"x", 2**70, "\ud800"])


def damaged(value: Any, rng: random.Random) -> Any:
    """Change one thing somewhere in nested data."""
    if not isinstance(value, (dict, list, tuple)) or not value or rng.random() < 0.1:
        return junk(rng)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        how = rng.random()
        if how < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if how < 0.2:
            return {(key_junk(rng) if k == key else k): v for k, v in value.items()}
        if how < 0.25:
            return {**value, key_junk(rng): junk(rng)}
        if how < 0.3:
            other = rng.choice(list(value))
            return {**value, key: value[other], other: value[key]}
        return {k: damaged(v, rng) if k == key else v for k, v in value.items()}
    place = rng.randrange(len(value))
    items = list(value)
    if rng.random() < 0.2:
        items.pop(place)
    elif rng.random() < 0.2:
        items.append(items[place])
    else:
        items[place] = damaged(items[place], rng)
    return type(value)(items)


def model_of(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 4))


def trained(config: dict[str, Any]) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    model = model_of()
    optimizer = build_optimizer(config, model)
    step(model, optimizer, 2)
    return model, optimizer


def tried(model: nn.Module, optimizer: torch.optim.Optimizer, work: Any) -> bool:
    """Load damaged state: say whether it loaded; where it was refused, nothing may have changed; then a step works."""
    before, groups = plain(state_of(optimizer)), options_of(optimizer)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except CheckpointError:
        assert same(plain(state_of(optimizer)), before)
        assert options_of(optimizer) == groups
        return False
    pair = copy.deepcopy((model, optimizer))
    step(*pair)
    return True


def state_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        name: dict(optimizer.state.get(p, {}))
        for g in optimizer.param_groups
        for name, p in zip(g["param_names"], g["params"], strict=True)
    }


def options_of(optimizer: torch.optim.Optimizer) -> list[str]:
    return [repr({key: value for key, value in group.items() if key != "params"}) for group in optimizer.param_groups]


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN is the same NaN here


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("layout", ["ours", "torch"])
def test_damaged_state_is_a_checkpoint_error_or_loads_as_it_is(layout: str, runs: int) -> None:
    rng = random.Random(f"{layout}{runs}")
    loaded = 0
    for i in range(runs):
        if i % 100 == 0:
            _, old = trained(CONFIGS[i // 100 % len(CONFIGS)])
            good = optimizer_state(old) if layout == "ours" else old.state_dict()
            model, optimizer = trained(CONFIGS[i // 100 % len(CONFIGS)])
        state = copy.copy(good)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            state = damaged(state, rng)
        choices = {
            "missing": rng.choice(["error", "init"]),
            "unexpected": rng.choice(["error", "ignore"]),
            "options": rng.choice(["config", "checkpoint"]),
        }
        reports: list[Any] = []

        def by_name() -> None:
            reports.append(load_optimizer_state(optimizer, state, **choices))  # noqa: B023

        def as_torch() -> None:
            optimizer.load_state_dict(state)  # noqa: B023

        if tried(model, optimizer, by_name if rng.random() < 0.5 else as_torch):
            loaded += 1
            check_loaded(state, optimizer, layout, reports[0].loaded if reports else None)
            model, optimizer = trained(CONFIGS[i // 100 % len(CONFIGS)])
    assert 0 < loaded < runs / 2


def check_loaded(state: Any, optimizer: torch.optim.Optimizer, layout: str, names_loaded: Any) -> None:
    """What was loaded for a parameter is what the state says of it, value for value."""
    if layout == "torch":
        groups = state["param_groups"]
        pairs = [
            pair for group in groups for pair in zip(group["params"], group.get("param_names") or (), strict=False)
        ]
        names = dict(pairs)
        said = {names[key]: value for key, value in state["state"].items() if key in names}
    else:
        said = state["state"]
    for name, entries in state_of(optimizer).items():
        given = said.get(name)
        if not given or (names_loaded is not None and name not in names_loaded):
            continue
        for key, value in entries.items():
            if given.get(key) is not None:
                there = torch.as_tensor(given[key]).detach()
                assert torch.equal(
                    torch.as_tensor(value).to(torch.float64).reshape(-1), there.to(torch.float64).reshape(-1)
                ) or bool(there.isnan().any()), (name, key)


# --- a save that was sealed again -------------------------------------------------------------


def resealed(directory: Path, content: Any) -> None:
    (directory / MANIFEST_FILE).write_text(json.dumps(sealed(content)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["tensors"]["0.weight"].update(exp_avg=["load", [3, 4]]), "'load' is no dtype"),
        (lambda c: c["tensors"]["0.weight"].update(exp_avg=["float32", [-1, 8]]), "greater than or equal to 0"),
        (lambda c: c["tensors"]["0.weight"].update(exp_avg=["float32", [2**62, 2**62]]), "another shape, dtype"),
        (lambda c: c["tensors"]["0.weight"].update(exp_avg=["float64", [3, 4]]), "another shape, dtype"),
        (lambda c: c["tensors"]["0.weight"].update(exp_avg=["float32", [4, 3]]), "another shape, dtype"),
        (lambda c: c["tensors"]["0.weight"].update(other=["float32", [4, 3]]), "is missing"),
        (lambda c: c.update(tensors=5), "was altered: 'tensors'"),
        (lambda c: c.update(files={}), r"names no \.metadata"),
        (lambda c: c["files"].pop("__0_0.distcp"), "which has no checksum"),
        (lambda c: c.update(params=[]), "was altered: 'params'"),
        (lambda c: c["params"].pop("0.weight"), "no entry in `params` for"),
        (lambda c: c["numbers"].update({"0.weight": {"step": 2**63}}), "the same is a tensor and a number"),
        (lambda c: c["numbers"].update({"0.weight": {"step": [1]}}), "was altered: 'numbers"),
        (lambda c: c.update(fingerprint=3), "was altered: 'fingerprint'"),
        (lambda c: c["files"].update({"..": [0, "0" * 64]}), "names files that no save has"),
    ],
)
def test_a_manifest_that_was_sealed_again_is_checked(tmp_path: Path, change: Any, message: str) -> None:
    _, optimizer = trained(CONFIGS[0])
    save(optimizer, tmp_path)
    content = json.loads((tmp_path / MANIFEST_FILE).read_text())["content"]
    change(content)
    resealed(tmp_path, content)
    with pytest.raises(CheckpointError, match=message):
        load(optimizer, tmp_path)


@pytest.mark.parametrize("runs", RUNS)
def test_a_damaged_manifest_that_was_sealed_again_is_refused_or_right(tmp_path: Path, runs: int) -> None:
    rng = random.Random(runs)
    model, optimizer = trained(CONFIGS[0])
    save(optimizer, tmp_path)
    right = plain(optimizer_state(optimizer))["state"]
    content = json.loads((tmp_path / MANIFEST_FILE).read_text())["content"]
    for _ in range(runs):
        bad = damaged(content, rng)
        try:
            resealed(tmp_path, bad)
        except (TypeError, ValueError):  # what no JSON file can hold
            continue
        if tried(model, optimizer, lambda: load(optimizer, tmp_path)):
            assert same(plain(optimizer_state(optimizer))["state"], right)


@pytest.mark.parametrize("runs", RUNS)
def test_a_damaged_metadata_that_was_sealed_again_is_refused_or_right(tmp_path: Path, runs: int) -> None:
    """Every byte of torch's pickle may be wrong, with all checksums right."""
    rng = random.Random(runs)
    model, optimizer = trained(CONFIGS[1])
    save(optimizer, tmp_path)
    right = plain(optimizer_state(optimizer))["state"]
    content = json.loads((tmp_path / MANIFEST_FILE).read_text())["content"]
    path = tmp_path / content["data"] / ".metadata"
    original = path.read_bytes()
    for _ in range(runs // 3):
        data = bytearray(original)
        for _ in range(rng.choice([1, 1, 2, 5])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        content["files"][".metadata"] = [len(data), hashlib.sha256(data).hexdigest()]
        resealed(tmp_path, content)
        if tried(model, optimizer, lambda: load(optimizer, tmp_path)):
            assert same(plain(optimizer_state(optimizer))["state"], right)
