"""The data folder of a save: made with a marker that proves whose it is, and removed file by file.

A save removes what an earlier save made and nothing else. What proves it: the manifest that is replaced names the
folder and its files, or a marker in the folder names the folder. A folder of the same form that somebody else made,
a copy of one of ours, and foreign files in one of ours all stay.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from optimbuild.checkpoint.files import open_regular

MARKER = ".optimbuild"
FOLDER = re.compile(r"data-[0-9a-f]{8,64}")
"""The names of data folders."""

_OURS = re.compile(r"__\d+_\d+\.distcp|\.metadata(\.tmp)?|optimbuild\.json|" + re.escape(MARKER))
"""The files that a save writes into its folder; torch writes the first two."""

_LONGEST_MARKER = 1000


def mark(folder: Path) -> None:
    """Write the marker of a folder that a save has just made.

    Raises:
        OSError: It cannot be written.
    """
    (folder / MARKER).write_text(json.dumps({"data folder of an optimbuild save": folder.name}), encoding="utf-8")


def is_marked(folder: Path) -> bool:
    """Say whether a save made this folder under this name."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        with open_regular(folder / MARKER) as file:
            found = json.loads(file.read(_LONGEST_MARKER) or b"")
    except (OSError, ValueError, RecursionError):
        return False
    return bool(found == {"data folder of an optimbuild save": folder.name})


def left_folders(directory: Path) -> Iterator[Path]:
    """Yield the folders that saves made in a directory, as their markers prove."""
    with suppress(OSError):
        for name in sorted(os.listdir(directory)):
            if FOLDER.fullmatch(name) and is_marked(directory / name):
                yield directory / name


def remove_files(folder: Path, files: Iterable[str]) -> None:
    """Remove files that a manifest names, then the folder where nothing else is in it.

    Args:
        folder: The folder of a save.
        files: The names of its files.
    """
    if folder.is_symlink():
        return
    for name in (*files, MARKER):  # the marker goes last: what is left of a removal that is killed is still ours
        with suppress(OSError):
            os.unlink(folder / name)
    with suppress(OSError):
        folder.rmdir()


def remove_left(folder: Path) -> None:
    """Remove what a save that was killed left in its marked folder, then the folder where nothing else is in it."""
    with suppress(OSError):
        remove_files(folder, [name for name in sorted(os.listdir(folder)) if _OURS.fullmatch(name) and name != MARKER])


def remove_new(folder: Path) -> None:
    """Remove the folder that this very save made, with everything that torch wrote into it."""
    shutil.rmtree(folder, ignore_errors=True)
