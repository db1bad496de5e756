"""The lock file itself: YAML that people can read, merge and review."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from optimbuild import __version__
from optimbuild.auditing.finding import refuse_unknown
from optimbuild.config.parsing import parsed_yaml
from optimbuild.errors import ConfigError, UnknownNameError
from optimbuild.lockfile.conflict import marked_line, sides
from optimbuild.lockfile.entry import Entry
from optimbuild.lockfile.outcome import IGNORABLE
from optimbuild.lockfile.target import Target, target_of
from optimbuild.messages import printable, shown
from optimbuild.values import plain, validated

VERSION = 1
"""The version of the form of the file."""
MAX_BYTES = 2**24
HEADER = "# What configs give to every parameter. `optimbuild check` compares, `optimbuild check --update` writes.\n"


@dataclass(frozen=True)
class LockFile:
    """What a lock file holds.

    Args:
        entries: The entries, in the order of their targets.
        written_by: The version of optimbuild that wrote it last.
    """

    entries: tuple[Entry, ...] = ()
    written_by: str = __version__

    @property
    def about_version(self) -> str:
        """Which other version of optimbuild wrote it, to go on a sentence; empty if it was this one."""
        if self.written_by == __version__:
            return ""
        return f"; optimbuild {printable(self.written_by)} wrote it, and this is {__version__}"

    def find(self, target: Target) -> Entry | None:
        """Return the entry of a target; None if there is none."""
        return next((entry for entry in self.entries if entry.target == target), None)

    def updated(self, entries: Iterable[Entry]) -> LockFile:
        """Return the file with some entries added, or in place of those of the same targets.

        While there is an entry that another version wrote, the file is said to be of that version.
        """
        renewed = {entry.target: entry for entry in entries}
        found = {entry.target: entry for entry in self.entries} | renewed
        written_by = __version__ if found.keys() == renewed.keys() else self.written_by
        return LockFile(tuple([found[target] for target in sorted(found, key=str)]), written_by)


Text = Annotated[str, StringConstraints(min_length=1)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class _Row(BaseModel):
    """An entry, as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    config: Text
    model: str = ""
    set: tuple[Text, ...] = ()
    optimizer: str = ""
    world_size: Annotated[int, Field(ge=1)] | None = None
    ignore: tuple[Text, ...] = ()
    fingerprint: Digest | Annotated[dict[str, Digest], Field(min_length=1)]
    plan: str


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int
    optimbuild: str
    plans: tuple[Any, ...]


def read_lock(path: str, *, merging: bool = False) -> LockFile:
    """Return what a lock file holds; an empty file holds nothing.

    Args:
        path: The file.
        merging: Whether a file that git could not merge has the entries of both sides, of equal targets ours.

    Raises:
        ConfigError: It cannot be read, is no lock file, was merged by halves, or has an entry twice.
    """
    text, where = _text(path), printable(path)
    if not (number := marked_line(text)):
        return _parsed(text, where)
    if not merging:
        raise ConfigError(
            f"{where} has conflict markers of git (line {number}). `optimbuild check --update` takes the entries of "
            "both sides, and writes them anew"
        )
    ours, theirs = [_parsed(side, where) for side in sides(text)]
    return theirs.updated(ours.entries)


def _parsed(text: str, where: str) -> LockFile:
    try:
        data = plain(parsed_yaml(text))
        if data is None:
            return LockFile()
        _refuse_other_version(data)
        file = validated(_File, data)
        return LockFile(tuple(_entries(file)), file.optimbuild)
    except ConfigError as error:
        raise ConfigError(f"{error.message} (in {where})", error.path) from None
    except ValueError as error:
        raise ConfigError(f"{where} is no lock file: {error}") from None


def _text(path: str) -> str:
    where = printable(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no lock file {shown(path)}") from None
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise ConfigError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where} is too large: a lock file has at most {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is no lock file: it is not text") from None


def _refuse_other_version(data: Any) -> None:
    if not isinstance(data, dict) or "version" not in data:
        raise ConfigError(f"a lock file is a mapping with `version`, `optimbuild` and `plans`, not {shown(data)}")
    if data["version"] != VERSION:
        raise ConfigError(
            f"must be {VERSION}, not {shown(data['version'])}: this is optimbuild {__version__}, and the file was "
            f"written by {shown(data.get('optimbuild'))}. Install that version, or write the file anew",
            "version",
        )


def _entries(file: _File) -> Iterator[Entry]:
    places: dict[Target, int] = {}
    for place, given in enumerate(file.plans):
        row = validated(_Row, given, f"plans[{place}]")
        target = target_of(row.config, row.model, row.set, row.optimizer, row.world_size)
        if (first := places.setdefault(target, place)) != place:
            raise ConfigError(
                f"has the same target as plans[{first}] ({target}). Delete one of them", f"plans[{place}]"
            )
        _refuse_unknown_ids(row.ignore, f"plans[{place}].ignore")
        fingerprints = row.fingerprint if isinstance(row.fingerprint, dict) else {"": row.fingerprint}
        yield Entry(target, fingerprints, tuple(row.plan.splitlines()), row.ignore)


def _refuse_unknown_ids(ids: Iterable[str], path: str) -> None:
    try:
        refuse_unknown(ids, IGNORABLE)
    except UnknownNameError as error:
        raise ConfigError(str(error), path) from None


def write_lock(path: str, lock: LockFile) -> bool:
    """Write a lock file, all of it or nothing; say whether it was another one before.

    Args:
        path: The file.
        lock: What to write.

    Raises:
        ConfigError: It cannot be written, a path in it is one of this machine only, or it is in a directory above the
            current one, where the same command would look for other files.
    """
    for entry in lock.entries:
        if outside := entry.target.outside:
            raise ConfigError(
                f"{shown(outside)} is not below the current directory, so that {printable(path)} would hold on this "
                "machine only. Run the command in the root of the repository"
            )
    text = lock_text(lock)
    try:
        place = Path(path).resolve()
        _refuse_above(place, path)
        if place.is_file() and place.read_bytes() == text.encode():
            return False
        _replace(str(place), text)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot write {shown(path)}: {reason}") from None
    return True


def _refuse_above(place: Path, path: str) -> None:
    if place.parent in Path.cwd().resolve().parents:
        raise ConfigError(
            f"{printable(path)} is above the current directory, and the paths in it are relative to where the command "
            f"runs. Run it in {shown(str(place.parent))}"
        )


@contextmanager
def no_other_update(path: str) -> Iterator[None]:
    """Wait until no other update of this user on this machine writes a lock file.

    What is locked is a file in the directory for temporary ones, so that a repository holds nothing but its lock file.

    Args:
        path: The lock file.
    """
    about = os.fsencode(f"{os.path.realpath(path)}\0{os.path.expanduser('~')}")
    name = f"optimbuild-{hashlib.sha256(about).hexdigest()[:16]}.lock"
    with ExitStack() as held:
        with suppress(OSError, NotImplementedError):  # no such directory, or a system without locks
            held.enter_context(FileLock(os.path.join(tempfile.gettempdir(), name)))
        yield


def _replace(path: str, text: str) -> None:
    """Write a new file beside another one, and put it in its place, with its permissions."""
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


class _Dumper(yaml.SafeDumper):
    """YAML whose texts of several lines are blocks, so that each line is one of the file."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def lock_text(lock: LockFile) -> str:
    """Return the text of a lock file; equal entries give equal texts, on any machine."""
    data = {"version": VERSION, "optimbuild": lock.written_by, "plans": list(map(_row, lock.entries))}
    made: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return HEADER + made


def _row(entry: Entry) -> dict[str, Any]:
    target, single = entry.target, entry.fingerprints.get("") if len(entry.fingerprints) == 1 else None
    given = {
        "config": target.config,
        "model": target.model,
        "set": list(target.overrides),
        "optimizer": target.optimizer,
        "world_size": target.world_size,
        "ignore": list(entry.ignore),
    }
    return {
        **{key: value for key, value in given.items() if value},
        "fingerprint": dict(entry.fingerprints) if single is None else single,
        "plan": "".join(f"{line}\n" for line in entry.plan),
    }
