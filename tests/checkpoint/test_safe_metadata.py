"""Reading a save runs no code that is in it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from optimbuild import CheckpointError
from optimbuild.checkpoint import load, save
from optimbuild.checkpoint.manifest import METADATA, Manifest, checksum
from optimbuild.checkpoint.safe_metadata import read_metadata
from tests.checkpoint.training import trained


class Bomb:
    """What a pickle can do to the one who opens it."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call = call
        self.args = args

    def __reduce__(self) -> Any:
        return self.call, self.args


def test_the_metadata_of_a_real_save_passes(tmp_path: Path) -> None:
    save(trained()[1], tmp_path)
    read_metadata(next(tmp_path.glob(f"data-*/{METADATA}")))


def test_metadata_that_calls_something_is_refused_and_calls_nothing(tmp_path: Path) -> None:
    """Its checksum is right: anybody who can write a save can compute that."""
    save(trained()[1], tmp_path)
    metadata, touched = next(tmp_path.glob(f"data-*/{METADATA}")), tmp_path / "touched"
    metadata.write_bytes(pickle.dumps(Bomb(os.mkdir, str(touched))))
    manifest = Manifest.read(tmp_path)
    Manifest(
        manifest.data,
        manifest.fingerprint,
        manifest.params,
        manifest.tensors,
        manifest.numbers,
        {**manifest.files, METADATA: checksum(metadata)},
    ).write(tmp_path)
    with pytest.raises(CheckpointError, match=r"it holds posix\.mkdir, which no save has"):
        load(trained()[1], tmp_path)
    assert not touched.exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb(eval, "1")),
        b"ctorch.distributed.checkpoint.filesystem\nos.system\n(S'true'\ntR.",
        b"\x80\x04\x8c\x28torch.distributed.checkpoint.filesystem\x8c\x09os.system\x93.",
        b"ctorch.distributed.checkpoint.metadata\nos\n.",
        b"ctorch\nload\n.",
        b"cpathlib\nos\n.",
        b"",
        b"no pickle",
    ],
)
def test_anything_else_than_descriptions_of_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / METADATA).write_bytes(content)
    with pytest.raises(CheckpointError, match="was altered or is not of a save"):
        read_metadata(tmp_path / METADATA)
