"""Saves as directories, which all ranks write and read together, each its own part."""

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
from optimbuild.checkpoint.known_names import KnownNames
from optimbuild.checkpoint.layouts import read_state
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.loading import WhoseOptions, assign, converted_state, make_report, option_updates
from optimbuild.checkpoint.manifest import MANIFEST_FILE, METADATA, Manifest, checksum
from optimbuild.checkpoint.matching import Match, Missing, Unexpected, match_state
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.ranks import Ranks
from optimbuild.checkpoint.safe_metadata import check_metadata
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown


def save(optimizer: Optimizer, directory: str | os.PathLike[str]) -> None:
    """Save an optimizer's state into a directory, each rank its own part.

    A **collective** where a process group is initialised: every rank must call this, with the same
    directory on a file system that all of them see.

    The save is complete or absent. The data is written into a new folder beside what is there, and becomes the
    save when the manifest ``optimbuild.json`` is renamed into place; then the previous save is removed. A run
    that is killed before that leaves the previous save as it was. One run at a time may write to a directory.

    Args:
        optimizer: One that :func:`optimbuild.build_optimizer` built, or any whose groups have ``param_names``.
        directory: The directory; it is made where it does not exist.

    Raises:
        CheckpointError: The state cannot be saved by name, or a rank could not write, or is gone. The directory
            has the previous save, or the new one where that was complete already.

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
    directory = Path(directory)
    named = NamedOptimizer.of(optimizer)
    ranks = Ranks(named.process_group)
    own = ranks.together(named.state)
    data = directory / f"data-{ranks.exchange(uuid.uuid4().hex[:16])[0]}"
    try:
        ranks.together(lambda: _make_directory(directory))
        data_files.write(_by_key(own), data, ranks)
        files = ranks.exchange(ranks.together(lambda: _checksums(data, ranks)))
        manifest = _manifest(named, data.name, ranks.exchange(_tensors_and_numbers(own)), files)
        ranks.together(lambda: _commit(manifest, directory) if ranks.rank == 0 else None)
    except BaseException:
        if ranks.rank == 0:  # only the rank that commits knows whether it did
            _discard(data, directory)
        raise


def load(
    optimizer: Optimizer,
    directory: str | os.PathLike[str],
    options: WhoseOptions = "config",
    missing: Missing = "error",
    unexpected: Unexpected = "error",
) -> LoadReport:
    """Load what :func:`save` wrote, on any number of ranks, each rank its own part.

    A **collective** where a process group is initialised: every rank must call this. The ranks share the
    work of checking every file against its checksum; then each reads what it keeps. The number of ranks that
    saved does not matter, nor whether ZeRO or FSDP2 sharded the state then or does now.

    Args:
        optimizer: The optimizer that resumes.
        directory: The directory of the save.
        options: As for :func:`~optimbuild.checkpoint.load_optimizer_state`.
        missing: As there.
        unexpected: As there.

    Returns:
        What was loaded, and how the options changed since the save.

    Raises:
        CheckpointError: There is no complete save, a file is damaged, or the state does not fit. Nothing was
            loaded, on no rank.
    """
    directory = Path(directory)
    named = NamedOptimizer.of(optimizer)
    ranks = Ranks(named.process_group)
    names = KnownNames(named)
    manifest = ranks.together(lambda: Manifest.read(directory))
    ranks.together(lambda: _verify(manifest, directory, ranks))

    def check() -> tuple[SavedState, Match, list[dict[str, Any]]]:
        saved = read_state(manifest.state(), names)
        return saved, match_state(named, saved, names, missing, unexpected), option_updates(named, saved, options)

    saved, match, updates = ranks.together(check)
    report = make_report(named, saved, match, options)
    empty = ranks.together(lambda: _empty_state(named, saved, match))
    saved_name = {names.canonical(name): name for name in manifest.params}
    data_files.read(
        _by_key({saved_name[name]: found for name, found in empty.items()}), directory / manifest.data, ranks
    )
    fresh = ranks.together(lambda: converted_state(named, match, empty))
    assign(named, fresh, match, updates)
    return report


def _by_key(state: Mapping[str, Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return tensors by their keys in the data files: ``state.NAME.KEY``."""
    return {
        f"state.{name}.{key}": value.detach()
        for name, found in state.items()
        for key, value in found.items()
        if isinstance(value, torch.Tensor)
    }


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{directory}: {error.strerror}") from error


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
    options = [options_of(group) for group in named.optimizer.param_groups]
    return Manifest(
        data=data,
        fingerprint=named.plan.fingerprint if named.plan is not None else "",
        params={name: options[index] for name, index in named.group_of.items()},
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


def _commit(manifest: Manifest, directory: Path) -> None:
    """Write the manifest, which makes the save valid, and then remove older saves."""
    try:
        manifest.write(directory)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}: {shown(str(error), 200)}") from error
    for path in directory.glob("data-*"):
        if path.name != manifest.data:
            shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(f"{MANIFEST_FILE}.data-*"):  # a manifest that a killed run did not rename any more
        path.unlink(missing_ok=True)


def _discard(data: Path, directory: Path) -> None:
    """Remove the data of a save that failed, unless the manifest names it already."""
    try:
        committed = data.name in (directory / MANIFEST_FILE).read_text("utf-8")
    except FileNotFoundError:
        committed = False
    except (OSError, ValueError):
        return
    if not committed:
        shutil.rmtree(data, ignore_errors=True)


def _verify(manifest: Manifest, directory: Path, ranks: Ranks) -> None:
    manifest.verify(directory, ranks.rank, ranks.size)
    check_metadata(directory / manifest.data / METADATA)


def _empty_state(named: NamedOptimizer, saved: SavedState, match: Match) -> dict[str, dict[str, Any]]:
    """Return empty tensors for everything that this rank keeps."""
    return {
        name: {key: _empty_value(saved.state[name][key], param) for key in match.entries[name] or saved.state[name]}
        for name, param in named.owned()
        if name in match.entries
    }


def _empty_value(value: Any, param: torch.Tensor) -> Any:
    """Return an empty tensor to read a saved one into, in the memory layout that the optimizer needs."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.ndim and value.shape == param.shape:
        return torch.empty_like(param, dtype=value.dtype, requires_grad=False)
    return torch.empty(value.shape, dtype=value.dtype)
