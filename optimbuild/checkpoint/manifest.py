"""The manifest of a save: its content, and the checksum of every file. A save exists when its manifest does."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from optimbuild.checkpoint.layouts import VERSION
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown

MANIFEST_FILE = "optimbuild.json"
FORMAT = "optimbuild optimizer state"
METADATA = ".metadata"
_DATA = re.compile(r"data-[0-9a-f]{8,64}")
_FILE = re.compile(r"[\w.]+")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """The content of a save.

    Args:
        data: The folder of the data files, beside the manifest.
        fingerprint: The fingerprint of the plan.
        params: By parameter, its options.
        tensors: By parameter and key, the dtype and shape of a tensor.
        numbers: By parameter and key, a plain number.
        files: By file in the data folder, its size in bytes and its SHA-256 checksum.
    """

    data: str
    fingerprint: str
    params: Mapping[str, Mapping[str, Any]]
    tensors: Mapping[str, Mapping[str, tuple[str, list[int]]]]
    numbers: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, tuple[int, str]]

    def write(self, directory: Path) -> None:
        """Write the manifest, whole or not at all, which makes the save valid.

        Raises:
            OSError: The file cannot be written.
        """
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        partial = directory / f"{MANIFEST_FILE}.{self.data}"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(sealed(content), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(directory / MANIFEST_FILE)
        _sync(directory)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read the manifest of a save.

        Raises:
            CheckpointError: There is none, or it was altered.
        """
        path = directory / MANIFEST_FILE
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise CheckpointError(
                f"{directory}: no complete save is here: there is no {MANIFEST_FILE}, which is written last"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} was altered or cut off: not JSON ({shown(str(error))})") from None
        try:
            content = found["content"]
            if content["format"] != FORMAT or content["version"] != VERSION:
                found_here = f"{shown(content['format'])} of version {shown(content['version'])}"
                raise CheckpointError(f"{path}: {found_here}; this optimbuild reads {FORMAT!r} of version {VERSION}")
            if found != sealed(content):
                raise CheckpointError(f"{path} was altered: its checksum is not that of its content")
            manifest = cls(**{key: content[key] for key in cls.__dataclass_fields__})
            if not _DATA.fullmatch(manifest.data) or not all(_FILE.fullmatch(name) for name in manifest.files):
                raise CheckpointError(f"{path} names files that no save has")
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{path} was altered: {type(error).__name__}: {shown(str(error))}") from None
        return manifest

    def state(self) -> dict[str, Any]:
        """Return the save as :func:`~optimbuild.checkpoint.optimizer_state` would, with tensors that have no data."""
        state: dict[str, dict[str, Any]] = {name: dict(found) for name, found in self.numbers.items()}
        for name, found in self.tensors.items():
            for key, (dtype, shape) in found.items():
                described = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
                state.setdefault(name, {})[key] = described
        return {"state": state, "params": self.params, "fingerprint": self.fingerprint, "version": VERSION}

    def verify(self, directory: Path, share: int = 0, shares: int = 1) -> None:
        """Check data files against their checksums.

        Args:
            directory: The directory of the manifest.
            share: The index of the part of the files that is checked.
            shares: The number of equal parts.

        Raises:
            CheckpointError: A file is missing, cut off or altered.
        """
        wrong = []
        for name in sorted(self.files)[share::shares]:
            size, digest = self.files[name]
            path = directory / self.data / name
            try:
                if path.stat().st_size != size:
                    wrong.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
                elif checksum(path)[1] != digest:
                    wrong.append(f"{name} was altered: its checksum differs")
            except OSError as error:
                wrong.append(f"{name}: {error.strerror}")
        if wrong:
            raise CheckpointError(
                f"{directory / self.data}: the save is damaged: {listing(wrong)}. Nothing was loaded."
            )


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its checksum, as the file has it."""
    text = json.dumps(content, sort_keys=True)
    return {"content": content, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def checksum(path: Path) -> tuple[int, str]:
    """Return the size of a file and its SHA-256 checksum."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _sync(directory: Path) -> None:
    """Write the names in a directory to the disk, so that they survive a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
