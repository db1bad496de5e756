"""A manifest is whole or refused, and it alone makes a save valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, save
from optimbuild.checkpoint.manifest import MANIFEST_FILE, Manifest, checksum, sealed
from tests.checkpoint.training import trained

MANIFEST = Manifest(
    data="data-0123456789abcdef",
    fingerprint="f",
    params={"w": {"lr": 1e-4, "betas": (0.9, 0.999)}},
    tensors={"w": {"exp_avg": ("float32", [2, 3])}},
    numbers={"w": {"calls": 3}},
    files={"__0_0.distcp": (3, "a" * 64), ".metadata": (2, "b" * 64)},
)


def write(manifest: Manifest, directory: Path) -> None:
    (directory / manifest.data).mkdir()
    manifest.write(directory)


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    write(MANIFEST, tmp_path)
    read = Manifest.read(tmp_path)
    assert read.state()["params"]["w"]["lr"] == 1e-4
    assert read.state()["state"]["w"]["calls"] == 3
    tensor = read.state()["state"]["w"]["exp_avg"]
    assert (tuple(tensor.shape), str(tensor.dtype), tensor.device.type) == ((2, 3), "torch.float32", "meta")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [MANIFEST_FILE]


def test_without_a_manifest_there_is_no_save(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no complete save is here: there is no {MANIFEST_FILE}"):
        Manifest.read(tmp_path)
    with pytest.raises(CheckpointError, match="no complete save is here"):
        Manifest.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"w": {"lr": 1e-5}}}, "its checksum is not that of its content"),
        ({"version": 2}, "of version 2; this optimbuild reads"),
        ({"format": "other"}, "'other' of version 1"),
        ({"format": None}, "None of version 1"),
    ],
)
def test_an_altered_manifest_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write(MANIFEST, tmp_path)
    found = json.loads((tmp_path / MANIFEST_FILE).read_text())
    found["content"] |= change
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(found))
    with pytest.raises(CheckpointError, match=message):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"content": 3, "sha256": ""}', "[" * 100_000, "\xff"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match="altered"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("change", [{"data": "../elsewhere"}, {"data": "data-../../x"}, {"files": {"../x": (1, "a")}}])
def test_a_manifest_names_no_files_outside_its_directory(tmp_path: Path, change: dict[str, object]) -> None:
    """Also not one with the right checksum, which anybody can compute."""
    write(MANIFEST, tmp_path)
    content = json.loads((tmp_path / MANIFEST_FILE).read_text())["content"]
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(sealed(content | change)))
    with pytest.raises(CheckpointError, match="names files that no save has"):
        Manifest.read(tmp_path)


def test_every_file_is_checked_by_one_of_the_ranks(tmp_path: Path) -> None:
    data = tmp_path / MANIFEST.data
    data.mkdir()
    for i in range(5):
        (data / f"{i}").write_bytes(b"x" * i)
    files = {f"{i}": checksum(data / f"{i}") for i in range(5)}
    manifest = Manifest(MANIFEST.data, "", {}, {}, {}, files)
    for share in range(2):
        manifest.verify(tmp_path, share, 2)
    (data / "3").write_bytes(b"xxy")
    manifest.verify(tmp_path, 0, 2)
    with pytest.raises(CheckpointError, match="the save is damaged: 3 was altered: its checksum differs"):
        manifest.verify(tmp_path, 1, 2)
    (data / "2").write_bytes(b"")
    (data / "4").unlink()
    with pytest.raises(CheckpointError, match="2 has 0 bytes instead of 2, 4: No such file"):
        manifest.verify(tmp_path, 0, 2)


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="Not a directory"):
        load(trained()[1], tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"exists|Not a directory"):
        save(trained()[1], tmp_path / "file")
