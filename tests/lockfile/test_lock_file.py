"""Reading and writing lock files."""

from __future__ import annotations

import os
import random
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from optimbuild import ConfigError, Inventory, OptimBuildError, ParamInfo, __version__, make_plan
from optimbuild.lockfile import lock_file
from optimbuild.lockfile.entry import Entry, changes, entry_of
from optimbuild.lockfile.lock_file import LockFile, lock_text, read_lock, write_lock
from optimbuild.lockfile.target import Target, target_of

MODEL = Inventory([ParamInfo(f"blocks.{i}.{leaf}", (4,)) for i in range(3) for leaf in ("weight", "bias")])
OTHER = "0" * 64


A = Target("a.yaml", "m.json")


def entry(lr: float = 0.1, target: Target = A) -> Entry:
    return entry_of(target, {"": make_plan({"optimizer": {"type": "sgd", "lr": lr}}, MODEL)})


LOCK = LockFile().updated([entry(), entry(0.2, Target("b.yaml", "m:build", ("optimizer.lr=0.2",), "critic", 4))])


@pytest.fixture
def path(tmp_path: Path) -> str:
    write_lock(str(tmp_path / "plans.lock"), LOCK)
    return str(tmp_path / "plans.lock")


def test_a_lock_file_above_the_current_directory_is_not_written(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    below = Path(path).parent / "sub"
    below.mkdir()
    before = Path(path).read_bytes()
    monkeypatch.chdir(below)
    with pytest.raises(ConfigError, match="is above the current directory"):
        write_lock("../plans.lock", LOCK.updated([entry(0.3)]))
    assert Path(path).read_bytes() == before
    assert write_lock("plans.lock", LOCK)


def test_a_lock_file_is_read_back_and_written_only_where_it_changes(path: str) -> None:
    before = os.stat(path).st_mtime_ns
    assert read_lock(path) == LOCK
    assert not write_lock(path, LOCK)
    assert os.stat(path).st_mtime_ns == before
    assert write_lock(path, LOCK.updated([entry(0.3)]))
    assert os.listdir(os.path.dirname(path)) == ["plans.lock"]


def test_the_text_is_the_same_in_whichever_order_entries_came() -> None:
    assert lock_text(LockFile().updated(reversed(LOCK.entries))) == lock_text(LOCK)
    assert lock_text(LOCK).splitlines()[1:12] == [
        "version: 1",
        f"optimbuild: {__version__}",
        "plans:",
        "- config: a.yaml",
        "  model: m.json",
        f"  fingerprint: {LOCK.entries[0].fingerprints['']}",
        "  plan: |",
        "    sgd: momentum 0.9, dampening 0.0, nesterov true",
        "    **",
        "      lr 0.1, weight_decay 0.0; 6 tensors, 24 elements",
        "- config: b.yaml",
    ]


def test_a_changed_lr_is_one_changed_line() -> None:
    assert lock_text(LOCK).splitlines()[10] == "      lr 0.1, weight_decay 0.0; 6 tensors, 24 elements"
    assert changes(entry(), entry(0.2)) == [
        " **",
        "-  lr 0.1, weight_decay 0.0; 6 tensors, 24 elements",
        "+  lr 0.2, weight_decay 0.0; 6 tensors, 24 elements",
    ]
    hidden = Entry(entry().target, {"": OTHER}, entry().plan)
    assert "inside a row" in changes(entry(), hidden)[0]
    assert changes(entry(), entry()) == []


def test_several_optimizers_have_a_fingerprint_each(tmp_path: Path) -> None:
    plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, MODEL)
    both = LockFile((entry_of(Target("gan.py"), {"generator": plan, "critic": plan}, ["warning"]),))
    assert [line for line in both.entries[0].plan if line.endswith(":")] == ["generator:", "critic:"]
    assert both.entries[0].short == f"generator {plan.fingerprint[:12]}, critic {plan.fingerprint[:12]}"
    write_lock(str(tmp_path / "plans.lock"), both)
    assert read_lock(str(tmp_path / "plans.lock")) == both


def test_names_with_signs_of_yaml_are_read_back(tmp_path: Path) -> None:
    names = [" c", "#e", "f: g", "- h", "ünï.{i}", "'j"]
    model = Inventory([ParamInfo(name, (2,)) for name in names])
    rules = [{"type": "match", "table": {f"re:^{i}$": {"lr_mult": 0.5}}, "optional": True} for i in range(2)]
    plan = make_plan({"optimizer": {"type": "sgd", "lr": 1}, "rules": rules}, model)
    lock = LockFile((entry_of(A, {"": plan}),))
    write_lock(str(tmp_path / "plans.lock"), lock)
    assert read_lock(str(tmp_path / "plans.lock")) == lock


def test_paths_are_relative_with_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside = str(tmp_path / "configs" / "a.yaml")
    (tmp_path.parent / "link").symlink_to(tmp_path)
    linked = str(tmp_path.parent / "link" / "configs" / "a.yaml")
    ways = [("./configs//a.yaml", "x/../m.json"), (inside, str(tmp_path / "m.json")), (linked, "m.json")]
    assert {target_of(config, model, None, None, None) for config, model in ways} == {
        Target("configs/a.yaml", "m.json")
    }
    assert target_of("a.py", f"hf:{tmp_path}/hub", ["a=1"], "critic", 2).model == "hf:hub"
    elsewhere = target_of("/elsewhere/a.yaml", "m.json", None, None, None)
    with pytest.raises(ConfigError, match=r"'/elsewhere/a\.yaml' is not below the current directory"):
        write_lock("plans.lock", LockFile((entry(target=elsewhere),)))
    assert not os.listdir(tmp_path)


def test_a_file_keeps_its_permissions_and_its_link(path: str, tmp_path: Path) -> None:
    os.chmod(path, 0o640)
    link = tmp_path / "link.lock"
    link.symlink_to(path)
    assert write_lock(str(link), LockFile((entry(0.7),)))
    assert link.is_symlink()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert read_lock(path).entries == (entry(0.7),)


@pytest.mark.parametrize("place", ["a\0", "no/such/folder/plans.lock", "a_folder"])
def test_a_place_that_no_file_can_have_is_an_error(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(ConfigError, match="cannot write"):
        write_lock(place, LOCK)
    assert [found.name for found in tmp_path.iterdir()] == ["a_folder"]


def test_a_write_that_fails_leaves_the_old_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock_file.os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot write .*: No space left on device"):
        write_lock(path, LockFile((entry(0.7),)))
    assert read_lock(path) == LOCK
    assert os.listdir(os.path.dirname(path)) == ["plans.lock"]


GOOD = lock_text(LOCK)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD.replace("plans:", "<<<<<<< HEAD\nplans:"),
            r"conflict markers of git \(line 4\).*--update` takes the entries of ",
        ),
        (GOOD + "\n=======\n", r"conflict markers of git \(line"),
        (GOOD + GOOD.partition("plans:\n")[2], r"plans\[2\]: has the same target as plans\[0\] \(a.yaml -m m.json"),
        (GOOD.replace("version: 1", "version: 2"), "version: must be 1, not 2: this is optimbuild"),
        (GOOD.replace("fingerprint: ", "fingerprint: x", 1), r"plans\[0\].fingerprint: "),
        (re.sub("fingerprint: .*", "fingerprint: {}", GOOD), r"plans\[0\].fingerprint: "),
        (GOOD.replace("model: m.json", "modle: m.json"), r"plans\[0\]: unknown key 'modle'. Did you mean 'model'"),
        (GOOD.replace("- config: a.yaml\n ", "-"), r"plans\[0\].config: is required"),
        (GOOD.replace("world_size: 4", "world_size: -4"), r"plans\[1\].world_size: must be greater"),
        (
            GOOD.replace("  fingerprint", "  ignore: [lr-zer]\n  fingerprint", 1),
            r"plans\[0\].ignore: .*'lr-zer'. Did you",
        ),
        ("- a\n", "a lock file is a mapping with `version`"),
        ("version: [\n", "is no lock file: "),
        ("version: 1\nversion: 1\n", "'version' stands twice"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(path: str, text: str, words: str) -> None:
    Path(path).write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=words) as raised:
        read_lock(path)
    assert path in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("binary", "not text"),
        ("large", "^[^ ]*large is too large: a lock file has"),
        ("missing", "there is no lock file"),
        (".", "directory"),
        ("a\0", "null"),
    ],
)
def test_what_is_no_text_file_is_refused(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(bytes(lock_file.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=words):
        read_lock(os.path.join(tmp_path, name))


def test_an_empty_file_has_no_entry(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert read_lock(str(tmp_path / "empty")) == LockFile()


def damaged(seed: int) -> bytes:
    """Return a lock file with some bytes or lines changed, doubled or removed."""
    chance = random.Random(seed)
    data = bytearray(GOOD.encode())
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(data)), chance.choice([1, 1, 5, 60])
        piece = data[place : place + length]
        junk = bytes(chance.choices(b"\n -:{}[]&*!|>'\"#%@`,0aZ\xff\x00", k=length))
        data[place : place + length] = chance.choice([b"", piece * 2, junk, piece[::-1]])
    return bytes(data)


def test_a_damaged_file_is_read_or_refused_and_never_raises_else(tmp_path: Path) -> None:
    path = tmp_path / "plans.lock"
    refused = 0
    for seed in range(400):
        path.write_bytes(damaged(seed))
        try:
            read_lock(str(path))
        except OptimBuildError:
            refused += 1
    assert refused > 100


DATA = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(DATA, st.sampled_from(["config", "fingerprint", "plan", "model", "set", "ignore", "world_size", "optimizer"]))
def test_any_data_under_a_key_of_an_entry_is_read_or_refused(data: object, key: str) -> None:
    row = {"config": "a.yaml", "fingerprint": OTHER, "plan": "", key: data}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "plans.lock")
        Path(path).write_text(yaml.safe_dump({"version": 1, "optimbuild": "0", "plans": [row]}), "utf-8")
        with suppress(OptimBuildError):
            read_lock(path)
