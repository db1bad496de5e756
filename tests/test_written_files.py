"""A file is replaced only by one of its kind, and what goes wrong while writing is told in our words."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimbuild import OptimBuildError
from optimbuild.written_files import refuse_other_file, write_file


def is_ours(path: str) -> bool:
    return Path(path).read_bytes().startswith(b"ours")


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    for content, refused in (None, False), (b"", False), (b"ours: 1", False), (b"theirs", True):
        if content is not None:
            path.write_bytes(content)
        if refused:
            with pytest.raises(OptimBuildError, match=r"exists and is no picture, so it is not replaced\."):
                refuse_other_file(str(path), "picture", is_ours)
        else:
            refuse_other_file(str(path), "picture", is_ours)


def test_a_new_file_replaces_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    write_file(path, b"1", new=True)
    with pytest.raises(OptimBuildError, match=r"cannot write .*: File exists"):
        write_file(path, b"2", new=True)
    write_file(path, b"3")
    assert Path(path).read_bytes() == b"3"


@pytest.mark.parametrize(("path", "words"), [("no/such/folder", "No such file or directory"), ("a\0b", "null byte")])
def test_a_file_that_cannot_be_written_is_an_error_of_ours(path: str, words: str) -> None:
    refuse_other_file(path, "picture", is_ours)
    with pytest.raises(OptimBuildError, match=f"cannot write .*: .*{words}"):
        write_file(path, b"")
