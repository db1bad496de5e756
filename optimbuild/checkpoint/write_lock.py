"""The lock of a directory of saves: one process at a time writes, and the lock dies with its process."""

from __future__ import annotations

import errno
import inspect
import os
import stat
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from optimbuild.checkpoint.files import path_text
from optimbuild.errors import CheckpointError
from optimbuild.messages import warn

LOCK_FILE = "optimbuild.lock"
"""The file that is locked. It is empty and stays: a process that removed it could let two others lock at once."""


NO_LOCKS = frozenset((errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK))
"""What file systems without locks answer."""


_newer = "fallback_to_soft" in inspect.signature(FileLock.__init__).parameters
ONLY_REAL_LOCKS: dict[str, Any] = {"fallback_to_soft": False} if _newer else {}
"""Newer releases of filelock would fall back to a file whose presence is the lock, which outlives a killed process."""


def locked(directory: Path) -> BaseFileLock | None:
    """Lock a directory for writing, without waiting.

    The operating system holds the lock and frees it when the process ends, however it ends. It holds among all
    processes of one machine, and among machines where the file system supports ``flock`` over the network
    (NFS 4, Lustre mounted with ``flock``).

    Returns:
        The lock, to be released; None where the file system has no locks, which a warning says.

    Raises:
        CheckpointError: Another process has the lock, or the lock file is somebody else's.
    """
    path = directory / LOCK_FILE
    _refuse_foreign(path)
    lock = FileLock(path, timeout=0, **ONLY_REAL_LOCKS)
    try:
        lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"{path_text(directory)}: another process is saving into this directory. Give each run its own, or end "
            "the other one first. Nothing was saved."
        ) from None
    except NotImplementedError:
        _warn_of_no_locks(directory)
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            _warn_of_no_locks(directory)
            return None
        raise CheckpointError(f"{path_text(path)}: {error.strerror}") from error
    return lock


def _warn_of_no_locks(directory: Path) -> None:
    warn(
        f"{path_text(directory)}: this file system has no locks, so nothing keeps two processes from saving here at "
        "the same time. Give each run its own directory."
    )


def _refuse_foreign(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"{path_text(path)}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        raise CheckpointError(f"{path_text(path)} is no lock of a save, which is an empty file. Nothing was saved.")
