"""Read every config under some folders, and print how many are accepted and why the others are refused.

``python -m tests.sweep PATH...``, where a path is a checkout of a repository, an installed package's ``.mim/configs``,
or one file. Configs in Python **are run**, as their projects run them. Nothing is built, so no model is needed; where
the projects' packages are not installed, what only they register is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optimbuild.config import read_configs, read_raw
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import printable

ENDINGS = (".py", ".yaml", ".yml")
NO_CONSTRUCTOR = "(none named)"
SHOWN = 110


class Outcome(NamedTuple):
    """What became of one file.

    Args:
        file: The file.
        constructor: The constructor that it names; None where it has no optimizer.
        reason: Why it is refused; empty where it is accepted.
    """

    file: Path
    constructor: str | None
    reason: str = ""


def configs_under(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that may be configs: all below folders called ``configs``, or below the path where none is."""
    for path in paths:
        if path.is_file():
            yield path
            continue
        files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS and file.is_file())
        inside = [file for file in files if "configs" in file.relative_to(path).parts[:-1]]
        yield from inside or files


def outcome(file: Path) -> Outcome:
    """Read one file."""
    try:
        raw = read_raw(str(file))
    except OptimBuildError as error:
        return Outcome(file, None, "" if _has_none(str(error)) else _reason(error))
    where = next(
        (raw[key] for key in ("optim_wrapper", "optimizer", "optimizers") if isinstance(raw.get(key), Mapping)), None
    )
    if (where is None and "TRAIN" not in raw) or _only_names_a_constructor(where):
        return Outcome(file, None)
    constructor = NO_CONSTRUCTOR if where is None else str(where.get("constructor") or NO_CONSTRUCTOR)
    try:
        read_configs(raw)
    except OptimBuildError as error:
        return Outcome(file, constructor, _reason(error))
    return Outcome(file, constructor)


def _only_names_a_constructor(where: Mapping[str, Any] | None) -> bool:
    """Say whether a config leaves its optimizers to the files that build on it."""
    return where is not None and set(where) <= {"constructor", "type"} and not isinstance(where.get("type"), str)


def _has_none(message: str) -> bool:
    """Say whether an error is about a file that is no config of an optimizer."""
    told = ("so no optimizer can be read from it", "of no known dialect", "must hold a mapping", "mapping, not None")
    return any(text in message for text in told)


def _reason(error: OptimBuildError) -> str:
    """Return the place and the first sentence of an error, without the name of the file."""
    place, message = (error.path, error.message) if isinstance(error, ConfigError) else ("", str(error))
    _, cannot, why = message.partition(" cannot be read: ")
    text = f"{place}: {why if cannot else message}".lstrip(": ")
    return printable(text.split(". ")[0][:SHOWN])


def report(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines of the report: a row per constructor, then the reasons."""
    with_optimizer = [each for each in outcomes if each.constructor is not None]
    unread = [each for each in outcomes if each.constructor is None and each.reason]
    refused = [each for each in with_optimizer if each.reason]
    accepted = len(with_optimizer) - len(refused)
    without = len(outcomes) - len(with_optimizer) - len(unread)
    lines = [
        f"{len(outcomes)} files: {len(with_optimizer)} with an optimizer, {without} without, {len(unread)} that fail",
        f"of those with an optimizer {accepted} are accepted, and {len(refused)} refused",
        "",
        f"{'constructor':<60} {'accepted':>8} {'refused':>8}",
    ]
    counts: dict[str, list[int]] = {}
    for each in with_optimizer:
        counts.setdefault(each.constructor or "", [0, 0])[bool(each.reason)] += 1
    for name, (accepted, failed) in sorted(counts.items(), key=lambda item: -sum(item[1])):
        lines.append(f"{name:<60} {accepted:>8} {failed:>8}")
    for title, found in (("refused", refused), ("failed", unread)):
        lines += _by_reason(title, found)
    return lines


def _by_reason(title: str, found: Sequence[Outcome]) -> list[str]:
    examples: dict[str, Path] = {}
    for each in found:
        examples.setdefault(each.reason, each.file)
    counted = Counter(each.reason for each in found).most_common()
    rows = [f"{count:>6}  {reason}  (such as {printable(examples[reason].name)})" for reason, count in counted]
    return ["", f"{title}, by reason:", *rows] if rows else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep over the paths, and print the report; the exit status says whether any config is refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--list", action="store_true", help="name every file that is refused, with the reason")
    asked = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    found: list[Outcome] = []
    for file in configs_under(asked.paths):
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found.append(outcome(file))
    logging.disable(logging.NOTSET)
    print(*report(found), sep="\n")
    if asked.list:
        print("", *[f"{each.file}: {each.reason}" for each in found if each.reason], sep="\n")
    return int(any(each.reason for each in found))


if __name__ == "__main__":
    sys.exit(main())
