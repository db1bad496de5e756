"""Saving into a directory, by all ranks together, each its own part."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint import data_files
from optimbuild.checkpoint.files import checked_path, path_text
from optimbuild.checkpoint.flat_shards import refuse_flat_shards
from optimbuild.checkpoint.manifest import MANIFEST_FILE, METADATA, Manifest, checksum, tensor_key
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.ranks import Ranks, refuse_unjoined_ranks
from optimbuild.checkpoint.save_folder import left_folders, mark, remove_files, remove_left, remove_new
from optimbuild.checkpoint.write_lock import locked
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown


def save(optimizer: Optimizer, directory: str | os.PathLike[str]) -> None:
    """Save an optimizer's state into a directory, each rank its own part.

    A **collective** where a process group is initialised: every rank must call this, with the same
    directory on a file system that all of them see.

    The save is complete or absent. The data is written into a new folder beside what is there, and becomes the
    save when the manifest ``optimbuild.json`` is renamed into place; then the previous save is removed, and
    nothing that no save made. A run that is killed before that leaves the previous save as it was. One run at a
    time may write to a directory: a lock, which ends with its process, refuses a second one.

    Args:
        optimizer: One that :func:`optimbuild.build_optimizer` built, or any whose groups have ``param_names``.
        directory: The directory; it is made where it does not exist.

    Raises:
        CheckpointError: The state cannot be saved by name, another process is saving here, a rank could not write
            or is gone, or ``torchrun`` started several processes that no process group joins. The directory has the
            previous save, or the new one where that was complete already.

    >>> import tempfile, torch
    >>> from optimbuild import build_optimizer
    >>> from optimbuild.checkpoint import load, save
    >>> model = torch.nn.Linear(2, 2)
    >>> optimizer = build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}}, model)
    >>> model(torch.ones(2)).sum().backward()
    >>> optimizer.step()
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(optimizer, directory)
    ...     print(load(optimizer, directory))
    state of 2 parameters loaded (layout: optimbuild, version 1)
    """
    refuse_flat_shards(optimizer)
    named = NamedOptimizer.of(optimizer)
    ranks = Ranks(named.process_group)
    refuse_unjoined_ranks()
    path, state = ranks.together(lambda: (checked_path(directory), named.state()))
    place = _Place(path, ranks.exchange(uuid.uuid4().hex[:16])[0])
    try:
        ranks.together(lambda: place.open() if ranks.rank == 0 else None)
        data_files.write(tensors_by_key(state), place.data, ranks)
        files = ranks.exchange(ranks.together(lambda: _checksums(place.data, ranks)))
        manifest = _manifest(named, place.data.name, ranks.exchange(_tensors_and_numbers(state)), files)
        ranks.together(lambda: place.commit(manifest) if ranks.rank == 0 else None)
    finally:
        if ranks.rank == 0:
            place.close()


class _Place:
    """Where the first rank puts a save: a new folder of a locked directory.

    Args:
        directory: The directory.
        unique: Makes the name of the folder unique.
    """

    def __init__(self, directory: Path, unique: str) -> None:
        self.directory = directory
        self.data = directory / f"data-{unique}"
        self._lock: Any = None
        self._previous: Manifest | None = None
        self._began = self._committed = False

    def open(self) -> None:
        """Lock the directory and make the folder.

        Raises:
            CheckpointError: The directory cannot be written, another process is saving into it, or it has a manifest
                that no save of ours wrote.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = locked(self.directory)
            self._previous = Manifest.read_previous(self.directory)
            self.data.mkdir()
            self._began = True
            mark(self.data)
        except OSError as error:
            raise CheckpointError(f"{path_text(self.directory)}: {error.strerror}") from error

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the save valid, and then remove older saves.

        Without a lock another process may have committed a save in the meantime. So what this one replaced is
        read again right before, and goes only while the manifest is still this one and its data is there.

        Raises:
            CheckpointError: The manifest cannot be written, or data is gone.
        """
        manifest.verify_sizes(self.directory)
        try:
            if self._lock is None:
                self._previous = Manifest.read_previous(self.directory)
            manifest.write(self.directory)
        except (OSError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{path_text(self.directory)}: {shown(str(error), 200)}") from error
        self._committed = True
        with suppress(CheckpointError):  # the save is valid; what cannot be removed now, the next save removes
            if Manifest.read(self.directory).data == manifest.data:
                manifest.verify_sizes(self.directory)
                self._remove_older(manifest)

    def _remove_older(self, manifest: Manifest) -> None:
        previous = self._previous
        if previous is not None and previous.data != manifest.data:
            remove_files(self.directory / previous.data, previous.files)
        for folder in left_folders(self.directory) if self._lock is not None else ():  # nobody else writes now
            if folder.name != manifest.data:
                remove_left(folder)

    def close(self) -> None:
        """Remove the folder of a save that failed, and release the lock."""
        if self._began and not self._committed and not self._is_current():
            remove_new(self.data)
        if self._lock is not None:
            self._lock.release()

    def _is_current(self) -> bool:
        """Say whether the manifest names the folder after all, as after an interrupt in the middle of its writing."""
        try:
            return self.data.name in (self.directory / MANIFEST_FILE).read_text("utf-8")
        except FileNotFoundError:
            return False
        except (OSError, ValueError):
            return True


def tensors_by_key(state: Mapping[str, Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return tensors by their keys in the data files."""
    return {
        tensor_key(name, key): value.detach()
        for name, found in state.items()
        for key, value in found.items()
        if isinstance(value, torch.Tensor)
    }


TensorsAndNumbers = tuple[dict[str, Any], dict[str, Any]]


def _tensors_and_numbers(own: Mapping[str, Mapping[str, Any]]) -> TensorsAndNumbers:
    """Return, by parameter and key, the dtype and shape of each tensor, and each number."""
    tensors: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for name, found in own.items():
        for key, value in found.items():
            if isinstance(value, torch.Tensor):
                tensors.setdefault(name, {})[key] = (str(value.dtype).removeprefix("torch."), list(value.shape))
            else:
                numbers.setdefault(name, {})[key] = value
    return tensors, numbers


def _manifest(
    named: NamedOptimizer,
    data: str,
    described: Iterable[TensorsAndNumbers],
    files: Iterable[dict[str, tuple[int, str]]],
) -> Manifest:
    """Return the manifest of what all ranks have."""
    tensors: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for its_tensors, its_numbers in described:
        tensors |= its_tensors
        numbers |= its_numbers
    return Manifest(
        data=data,
        fingerprint=named.plan.fingerprint if named.plan is not None else "",
        params=named.options(),
        tensors=tensors,
        numbers=numbers,
        files={name: file for found in files for name, file in found.items()},
    )


def _checksums(data: Path, ranks: Ranks) -> dict[str, tuple[int, str]]:
    """Return the checksums of this rank's share of the files."""
    try:
        names = sorted(os.listdir(data))
        if METADATA not in names:
            raise FileNotFoundError(2, f"there is no {METADATA}")
        return {name: checksum(data / name) for name in names[ranks.rank :: ranks.size]}
    except OSError as error:
        raise CheckpointError(f"{path_text(data)}: {error.strerror}. Do all ranks see the same file system?") from error
