"""Files and directories as users name them: checked before they are opened."""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path

from optimbuild.errors import CheckpointError
from optimbuild.messages import printable, shown


def checked_path(directory: str | os.PathLike[str]) -> Path:
    r"""Return a directory's path.

    Raises:
        CheckpointError: It is no path that a file system takes.

    >>> checked_path("run/\0")
    Traceback (most recent call last):
    optimbuild.errors.CheckpointError: a directory must be a path without null characters, not 'run/\x00'
    """
    try:
        path = Path(directory)
        null = b"\0" in os.fsencode(path)
    except (TypeError, UnicodeError):
        raise CheckpointError(f"a directory must be a path, not {shown(directory)}") from None
    if not os.fspath(directory) or "://" in os.fspath(directory):
        raise CheckpointError(
            f"a directory must be a path on a file system of this machine, not {shown(str(directory))}"
        )
    if null:
        raise CheckpointError(f"a directory must be a path without null characters, not {shown(str(directory))}")
    return path


def path_text(path: Path) -> str:
    """Return a path for a message: on one line, whatever characters are in it."""
    return printable(str(path))


def open_regular(path: Path) -> FileIO:
    """Open a file for reading, unbuffered, and refuse what might never end: a pipe, a socket, a device.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "Is a directory")
        if not stat.S_ISREG(mode):
            raise OSError(22, "It is no regular file")
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def sync_directory(directory: Path) -> None:
    """Write the names in a directory to the disk, so that they survive a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
