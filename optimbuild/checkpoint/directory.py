"""State as a directory, written and read by all ranks together, each its own part."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint import data_files
from optimbuild.checkpoint.group_options import options_of
from optimbuild.checkpoint.layouts import Names, Saved, saved_from
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.loading import Options, assign, placed_by_name, reported, updates_of
from optimbuild.checkpoint.manifest import METADATA, NAME, Manifest, checksum
from optimbuild.checkpoint.matching import Match, Missing, Unexpected, matched
from optimbuild.checkpoint.named_optimizer import Held
from optimbuild.checkpoint.ranks import Ranks
from optimbuild.checkpoint.safe_metadata import vet_metadata
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown


def save(optimizer: Optimizer, directory: str | os.PathLike[str]) -> None:
    """Save an optimizer's state into a directory, each rank its own part.

    A **collective** where a process group is initialised: every rank must call this, with the same
    directory on a file system that all of them see.

    The save is complete or absent. The data is written beside what is there, under a name of its own, and
    becomes the save when the manifest ``optimbuild.json`` is renamed into place; then the previous save is
    removed. A run that is killed on the way leaves the previous save as it was. One run at a time may
    write to a directory.

    Args:
        optimizer: One that :func:`optimbuild.build_optimizer` built, or any whose groups have ``param_names``.
        directory: Where to; it is made where it does not exist.

    Raises:
        CheckpointError: The state cannot be saved by name, or a rank could not write, or is gone. The directory holds
            the previous save, or the new one where that was complete already.

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
    home = Path(directory)
    held = Held.of(optimizer)
    ranks = Ranks(held.process_group)
    own = ranks.together(held.state)
    data = home / f"data-{ranks.exchange(uuid.uuid4().hex[:16])[0]}"
    try:
        ranks.together(lambda: _made(home))
        data_files.write(_by_key(own), data, ranks)
        files = ranks.exchange(ranks.together(lambda: _checksums(data, ranks)))
        manifest = _manifest(held, data.name, ranks.exchange(_described(own)), files)
        ranks.together(lambda: _commit(manifest, home) if ranks.rank == 0 else None)
    except BaseException:
        if ranks.rank == 0:  # only the one that commits knows for sure that it did not
            _discard(data, home)
        raise


def load(
    optimizer: Optimizer,
    directory: str | os.PathLike[str],
    options: Options = "config",
    missing: Missing = "error",
    unexpected: Unexpected = "error",
) -> LoadReport:
    """Load what :func:`save` wrote, on any number of ranks, each rank its own part.

    A **collective** where a process group is initialised: every rank must call this. The ranks share the
    work of checking every file against its checksum; then each reads what it keeps. It does not matter how many
    ranks saved, and whether ZeRO or FSDP2 sharded the state then or does now.

    Args:
        optimizer: The optimizer that resumes.
        directory: Where the save is.
        options: As for :func:`~optimbuild.checkpoint.load_optimizer_state`.
        missing: Likewise.
        unexpected: Likewise.

    Returns:
        What was loaded, and how the options changed since the save.

    Raises:
        CheckpointError: There is no complete save, a file is damaged, or the state does not fit. Nothing was
            loaded, on no rank.
    """
    home = Path(directory)
    held = Held.of(optimizer)
    ranks = Ranks(held.process_group)
    names = Names(held)
    manifest = ranks.together(lambda: Manifest.read(home))
    ranks.together(lambda: _verify(manifest, home, ranks))

    def check() -> tuple[Saved, Match, list[dict[str, Any]]]:
        saved = saved_from(manifest.state(), names)
        return saved, matched(held, saved, names, missing, unexpected), updates_of(held, saved, options)

    saved, match, updates = ranks.together(check)
    report = reported(held, saved, match, options)
    room = ranks.together(lambda: _rooms(held, saved, match))
    saved_name = {names.canonical(name): name for name in manifest.params}
    data_files.read(_by_key({saved_name[name]: found for name, found in room.items()}), home / manifest.data, ranks)
    fresh = ranks.together(lambda: placed_by_name(held, match, room))
    assign(held, fresh, match, updates)
    return report


def _by_key(state: Mapping[str, Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return tensors by their keys in the data files: ``state.NAME.KEY``."""
    return {
        f"state.{name}.{key}": value.detach()
        for name, found in state.items()
        for key, value in found.items()
        if isinstance(value, torch.Tensor)
    }


def _made(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{home}: {error.strerror}") from error


Described = tuple[dict[str, Any], dict[str, Any]]


def _described(own: Mapping[str, Mapping[str, Any]]) -> Described:
    """Return the dtype and shape of tensors, and numbers themselves."""
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
    held: Held, data: str, described: Iterable[Described], files: Iterable[dict[str, tuple[int, str]]]
) -> Manifest:
    """Put together what the ranks told."""
    tensors: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for its_tensors, its_numbers in described:
        tensors |= its_tensors
        numbers |= its_numbers
    options = [options_of(group) for group in held.optimizer.param_groups]
    return Manifest(
        data=data,
        fingerprint=held.plan.fingerprint if held.plan is not None else "",
        params={name: options[index] for name, index in held.group_of.items()},
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
        raise CheckpointError(f"{data}: {error.strerror}. Do all ranks see the same file system?") from error


def _commit(manifest: Manifest, home: Path) -> None:
    """Make the save valid, and then remove what is older."""
    try:
        manifest.write(home)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{home}: {shown(str(error), 200)}") from error
    for path in home.glob("data-*"):
        if path.name != manifest.data:
            shutil.rmtree(path, ignore_errors=True)
    for path in home.glob(f"{NAME}.data-*"):  # a manifest that a killed run was about to rename
        path.unlink(missing_ok=True)


def _discard(data: Path, home: Path) -> None:
    """Remove the data of a save that failed, unless the manifest already names it."""
    try:
        committed = data.name in (home / NAME).read_text("utf-8")
    except FileNotFoundError:
        committed = False
    except (OSError, ValueError):
        return
    if not committed:
        shutil.rmtree(data, ignore_errors=True)


def _verify(manifest: Manifest, home: Path, ranks: Ranks) -> None:
    manifest.verify(home, ranks.rank, ranks.size)
    vet_metadata(home / manifest.data / METADATA)


def _rooms(held: Held, saved: Saved, match: Match) -> dict[str, dict[str, Any]]:
    """Return empty tensors for everything that this rank keeps."""
    return {
        name: {key: _room(saved.state[name][key], param) for key in match.entries[name] or saved.state[name]}
        for name, param in held.owned()
        if name in match.entries
    }


def _room(value: Any, param: torch.Tensor) -> Any:
    """Return an empty tensor to read a saved one into, laid out as the optimizer needs it."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.ndim and value.shape == param.shape:
        return torch.empty_like(param, dtype=value.dtype, requires_grad=False)
    return torch.empty(value.shape, dtype=value.dtype)
