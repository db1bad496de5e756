"""Loading from a directory, by all ranks together, each its own part."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint import data_files
from optimbuild.checkpoint.files import checked_path
from optimbuild.checkpoint.flat_shards import refuse_flat_shards
from optimbuild.checkpoint.known_names import KnownNames, Rename
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.loading import assign
from optimbuild.checkpoint.manifest import METADATA, Manifest, sealed
from optimbuild.checkpoint.matching import Match, Missing, Unexpected, kept_keys
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.prepared_load import Choices, WhoseOptions, converted_state, prepare
from optimbuild.checkpoint.ranks import Ranks
from optimbuild.checkpoint.safe_metadata import compare_metadata, read_metadata
from optimbuild.checkpoint.save_directory import tensors_by_key
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.messages import counted


def load(
    optimizer: Optimizer,
    directory: str | os.PathLike[str],
    options: WhoseOptions = "config",
    missing: Missing = "error",
    unexpected: Unexpected = "error",
    rename: Rename = None,
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
        rename: As there.

    Returns:
        What was loaded, and how the options changed since the save.

    Raises:
        CheckpointError: There is no complete save, a file is damaged, or the state does not fit. Nothing was
            loaded, on no rank.
    """
    refuse_flat_shards(optimizer)
    named = NamedOptimizer.of(optimizer)
    ranks = Ranks(named.process_group)
    names = ranks.together(lambda: KnownNames(named, rename))
    path = ranks.together(lambda: checked_path(directory))
    ranks.agree({"options": options, "missing": missing, "unexpected": unexpected})
    manifest = ranks.together(lambda: Manifest.read(path))
    ranks.agree({"save": sealed(asdict(manifest))["sha256"]})
    renames = ranks.together(lambda: names.renames(manifest.params))
    ranks.agree({"rename": f"{counted(len(renames), 'name')} ({sealed(renames)['sha256'][:8]})"})
    ranks.together(lambda: _verify(manifest, path, ranks))
    choices = Choices(options, missing, unexpected, rename=rename)
    found = ranks.together(lambda: prepare(named, names, manifest.state(), choices))
    empty = ranks.together(lambda: _empty_state(named, found.saved, found.match))
    saved_name = {names.canonical(name): name for name in manifest.params}
    data_files.read(
        tensors_by_key({saved_name[name]: values for name, values in empty.items()}), path / manifest.data, ranks
    )
    fresh = ranks.together(lambda: converted_state(named, found.match, empty))
    assign(named, fresh, found.updates)
    return found.report


def _verify(manifest: Manifest, directory: Path, ranks: Ranks) -> None:
    """Check this rank's share of the files, and that the metadata describes what the manifest does."""
    manifest.verify(directory, ranks.rank, ranks.size)
    if manifest.files:
        compare_metadata(read_metadata(directory / manifest.data / METADATA), manifest)


def _empty_state(named: NamedOptimizer, saved: SavedState, match: Match) -> dict[str, dict[str, Any]]:
    """Return empty tensors for everything that this rank keeps."""
    return {
        name: {
            key: _empty_value(saved.state[name][key], param)
            for key in kept_keys(match.entries[name], saved.state[name])
        }
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
