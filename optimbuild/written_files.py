"""Files that we write: a file of the same name is replaced only if it is one of ours of the same kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from optimbuild.errors import OptimBuildError
from optimbuild.messages import shown


def refuse_other_file(path: str, kind: str, is_one: Callable[[str], bool]) -> None:
    """Raise an error if writing would replace a file that is not of the same kind. An empty one may be replaced.

    Args:
        path: The file.
        kind: What it would be, such as ``report``.
        is_one: Says whether an existing file is of this kind.

    Raises:
        OptimBuildError: It exists and is of another kind, or cannot be read.
    """
    try:
        if not os.path.isfile(path) or not os.path.getsize(path) or is_one(path):
            return
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise OptimBuildError(f"cannot read {shown(path)}: {_reason(error)}") from None
    raise OptimBuildError(
        f"{shown(path)} exists and is no {kind}, so it is not replaced. Choose another name, or remove it first."
    )


def write_file(path: str, content: bytes, *, new: bool = False) -> None:
    """Write a file.

    Args:
        path: The file.
        content: What to write.
        new: The file must not exist.

    Raises:
        OptimBuildError: It cannot be written.
    """
    try:
        with Path(path).open("xb" if new else "wb") as file:
            file.write(content)
    except (OSError, ValueError) as error:
        raise OptimBuildError(f"cannot write {shown(path)}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
