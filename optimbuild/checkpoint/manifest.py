"""The manifest of a save: its content, and the checksum of every file. A save exists when its manifest does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter, ValidationError

from optimbuild.checkpoint.files import open_regular, path_text, sync_directory
from optimbuild.checkpoint.layouts import VERSION
from optimbuild.checkpoint.save_folder import FOLDER
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown

MANIFEST_FILE = "optimbuild.json"
FORMAT = "optimbuild optimizer state"
METADATA = ".metadata"
_CHUNK = 1 << 20


def _known_dtype(name: str) -> str:
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise ValueError(f"{shown(name)} is no dtype")
    return name


Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Dtype = Annotated[str, AfterValidator(_known_dtype)]
Number = StrictBool | StrictInt | StrictFloat | StrictStr
Folder = Annotated[str, Field(pattern=f"^{FOLDER.pattern}$")]
File = Annotated[str, Field(pattern=r"^[\w.]*\w[\w.]*$")]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Manifest:
    """The content of a save. What :meth:`read` returns has the types that are written here.

    Args:
        data: The folder of the data files, beside the manifest.
        fingerprint: The fingerprint of the plan.
        params: By parameter, its options.
        tensors: By parameter and key, the dtype and shape of a tensor.
        numbers: By parameter and key, a plain number.
        files: By file in the data folder, its size in bytes and its SHA-256 checksum.
    """

    data: Folder
    fingerprint: StrictStr
    params: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, tuple[Dtype, list[Size]]]]
    numbers: dict[str, dict[str, Number]]
    files: dict[File, tuple[Size, Checksum]]

    def write(self, directory: Path) -> None:
        """Write the manifest, whole or not at all, which makes the save valid.

        Raises:
            OSError: The file cannot be written.
        """
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        partial = directory / self.data / MANIFEST_FILE  # in the folder, whose marker says whose it is
        with partial.open("w", encoding="utf-8") as file:
            json.dump(sealed(content), file)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(directory / self.data)
        partial.replace(directory / MANIFEST_FILE)
        sync_directory(directory)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read the manifest of a save.

        Raises:
            CheckpointError: There is none, or it was altered.
        """
        path = directory / MANIFEST_FILE
        where = path_text(path)
        try:
            with open_regular(path) as file:
                found = json.loads(file.readall())
        except FileNotFoundError:
            raise CheckpointError(
                f"{path_text(directory)}: no complete save is here: there is no {MANIFEST_FILE}, which is written last"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{where}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{where} was altered or cut off: not JSON ({shown(str(error))})") from None
        try:
            content = found["content"]
            if content["format"] != FORMAT or content["version"] != VERSION:
                found_here = f"{shown(content['format'])} of version {shown(content['version'])}"
                raise CheckpointError(f"{where}: {found_here}; this optimbuild reads {FORMAT!r} of version {VERSION}")
            if found != sealed(content):
                raise CheckpointError(f"{where} was altered: its checksum is not that of its content")
            manifest = _validator().validate_python(content)
        except ValidationError as error:
            raise CheckpointError(f"{where} {_complaint(error)}") from None
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{where} was altered: {type(error).__name__}: {shown(str(error))}") from None
        twice = [n for n, found in manifest.numbers.items() if found.keys() & manifest.tensors.get(n, {}).keys()]
        if twice:
            raise CheckpointError(f"{where} was altered: the same is a tensor and a number: {listing(twice)}")
        if manifest.tensors and METADATA not in manifest.files:
            raise CheckpointError(f"{where} was altered: it has tensors, and names no {METADATA}")
        return manifest

    @classmethod
    def read_previous(cls, directory: Path) -> Manifest | None:
        """Return the manifest that a save is about to replace; None where there is none.

        Raises:
            CheckpointError: There is a file of that name, and no save of this release wrote it.
        """
        if not os.path.lexists(directory / MANIFEST_FILE):
            return None
        try:
            return cls.read(directory)
        except CheckpointError as error:
            raise CheckpointError(f"{error}. Move it away to save here; nothing was saved.") from error

    def state(self) -> dict[str, Any]:
        """Return the save as :func:`~optimbuild.checkpoint.optimizer_state` would, with tensors that have no data.

        Raises:
            CheckpointError: No tensor has such a shape.
        """
        state: dict[str, dict[str, Any]] = {name: dict(found) for name, found in self.numbers.items()}
        for name, found in self.tensors.items():
            for key, (dtype, shape) in found.items():
                try:
                    described = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
                except (RuntimeError, OverflowError) as error:
                    what = f"{name} ({key}): {dtype} of shape {shown(shape)}"
                    raise CheckpointError(f"the manifest was altered: no tensor is {what}") from error
                state.setdefault(name, {})[key] = described
        return {"state": state, "params": self.params, "fingerprint": self.fingerprint, "version": VERSION}

    def verify_sizes(self, directory: Path) -> None:
        """Check that every data file is there and has its size, without reading it.

        Args:
            directory: The directory of the manifest.

        Raises:
            CheckpointError: A file is missing or cut off.
        """
        self._verify(directory, sorted(self.files), lambda *_: "")

    def verify(self, directory: Path, share: int = 0, shares: int = 1) -> None:
        """Check data files against their checksums.

        Args:
            directory: The directory of the manifest.
            share: The index of the part of the files that is checked.
            shares: The number of equal parts.

        Raises:
            CheckpointError: A file is missing, cut off or altered.
        """
        self._verify(directory, sorted(self.files)[share::shares], self._difference)

    def _difference(self, name: str, path: Path) -> str:
        return "" if checksum(path)[1] == self.files[name][1] else f"{name} was altered: its checksum differs"

    def _verify(self, directory: Path, names: list[str], difference: Callable[[str, Path], str]) -> None:
        wrong = []
        for name in names:
            path = directory / self.data / name
            try:
                size = path.stat().st_size
                if size != self.files[name][0]:
                    wrong.append(f"{name} has {size} bytes instead of {self.files[name][0]}")
                elif problem := difference(name, path):
                    wrong.append(problem)
            except OSError as error:
                wrong.append(f"{name}: {error.strerror}")
        if wrong:
            raise CheckpointError(
                f"{path_text(directory / self.data)}: the save is damaged: {listing(wrong)}. Nothing was loaded."
            )


def tensor_key(name: str, key: str) -> str:
    """Return the key of a tensor in the data files.

    >>> tensor_key("fc.weight", "exp_avg")
    'state.fc.weight.exp_avg'
    """
    return f"state.{name}.{key}"


@cache
def _validator() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "string_pattern_mismatch" and place[0] in ("data", "files"):
        return "names files that no save has"
    return f"was altered: {shown('.'.join(place))}: {first['msg']}"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its checksum, as the file has it."""
    text = json.dumps(content, sort_keys=True)
    return {"content": content, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def checksum(path: Path) -> tuple[int, str]:
    """Return the size of a file and its SHA-256 checksum."""
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
