"""``optimbuild check``: for CI, whether configs still give the plans that they are meant to give."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimbuild.cli.arguments import DIFFERENT, SAME, TROUBLE, Json, Model, Optimizer, Overrides, WorldSize
from optimbuild.cli.output import print_lines, print_message, print_text, report_width
from optimbuild.cli.plans import inventory_for, plans_of_file
from optimbuild.errors import ConfigError, OptimBuildWarning
from optimbuild.messages import counted, printable, shown

if TYPE_CHECKING:
    from optimbuild.lockfile.lock_file import LockFile
    from optimbuild.lockfile.outcome import Checked
    from optimbuild.lockfile.target import Target
    from optimbuild.model.inventory import Inventory
    from optimbuild.plan.plan import Plan

FINGERPRINT = re.compile("[0-9a-f]{12,64}")
"""A fingerprint, or its beginning as plans show it."""

AnyConfig = Annotated[
    str | None,
    typer.Argument(metavar="CONFIG", help="A config file; by default all in the lock file.", show_default=False),
]
Expect = Annotated[
    str | None,
    typer.Option(
        "--expect", metavar="FINGERPRINT", help="That of the plan, or its first 12 characters.", show_default=False
    ),
]
Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="ID", help="A finding to leave out, or `warning`. Repeatable.")
]
Lock = Annotated[str, typer.Option("--lock", metavar="FILE", help="The lock file.")]
Update = Annotated[bool, typer.Option("--update", help="Write the plans into the lock file.")]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="Show what differs from this lock file, such as that of the main branch.",
        show_default=False,
    ),
]
Markdown = Annotated[
    str | None,
    typer.Option(
        "--markdown",
        metavar="FILE.md",
        help="Write the result as Markdown too, for a comment on a pull request.",
        show_default=False,
    ),
]


def check(
    config: AnyConfig = None,
    model: Model = None,
    overrides: Overrides = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
    expect: Expect = None,
    ignore: Ignore = None,
    lock: Lock = "plans.lock",
    update: Update = False,
    against: Against = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """Check that plans are those of the lock file, and that nothing is wrong with them.

    The exit status is 0 if so, 1 after a change, a warning or a finding, 2 for trouble.
    """
    about = {"--model": model, "--set": overrides, "--optimizer": optimizer, "--world-size": world_size}
    _refuse_misuse(config, about | {"--expect": expect}, expect, update)
    from optimbuild.auditing.finding import refuse_unknown
    from optimbuild.lockfile.checks import Checks
    from optimbuild.lockfile.lock_file import read_lock
    from optimbuild.lockfile.markdown import write_markdown
    from optimbuild.lockfile.outcome import IGNORABLE, Checked
    from optimbuild.lockfile.target import target_of

    refuse_unknown(ignore or (), IGNORABLE)
    locked = _locked(lock, config, update)
    other = read_lock(against) if against is not None else locked if locked.entries else None
    checks = Checks(_Planner().plans, locked, printable(lock), other, tuple(ignore or ()), expect or "", update)
    if config is None:
        targets = [entry.target for entry in locked.entries]
        gone = [entry for entry in (other or locked).entries if entry.target not in targets]
        checked = Checked(tuple(map(checks.outcome_or_error, targets)), tuple(gone))
    else:
        checked = Checked((checks.outcome(target_of(config, model, overrides, optimizer, world_size)),))
    _print(checked, as_json)
    if markdown is not None:
        write_markdown(markdown, checked)
    if update:
        _update(lock, config, checked)
    raise typer.Exit(TROUBLE if checked.has_error else DIFFERENT if checked.wrong else SAME)


def _refuse_misuse(config: str | None, about: Mapping[str, Any], expect: str | None, update: bool) -> None:
    """Raise a ConfigError for options that have no meaning together."""
    for flag, given in about.items():
        if given is not None and config is None:
            raise ConfigError(f"{flag} is about CONFIG, which is not given; without it the lock file says what to plan")
    if expect is not None and not FINGERPRINT.fullmatch(expect):
        raise ConfigError(f"--expect takes a fingerprint, or its first 12 characters at least, not {shown(expect)}")
    if expect is not None and update:
        raise ConfigError("--update writes the plan as it is, and --expect says what it must be. Give one of them.")


def _locked(path: str, config: str | None, update: bool) -> LockFile:
    """Return the lock file; with a config there may be none yet.

    Raises:
        ConfigError: It cannot be read, or has no entry where all of them are to be checked.
    """
    from optimbuild.lockfile.lock_file import LockFile, read_lock

    exists = os.path.lexists(os.path.realpath(path))  # a link may be to a file that is not yet
    locked = read_lock(path, merging=update) if exists else LockFile()
    if config is None and not locked.entries:
        missing = f"{printable(path)} has no entry" if exists else f"there is no lock file {shown(path)}"
        raise ConfigError(f"{missing}. `optimbuild check CONFIG --model MODEL --update` writes one")
    return locked


class _Planner:
    """Makes the plans of targets; a model that several of them name is built once."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[Inventory, list[str]]] = {}

    def plans(self, target: Target) -> tuple[Mapping[str, Plan], Sequence[str]]:
        """Return the plans of a target, and the warnings about its model and config."""
        key = target.model or target.config
        if key not in self._models:
            with _recorded() as about_model:
                self._models[key] = inventory_for(target.model or None, target.config), about_model
        inventory, about_model = self._models[key]
        with _recorded() as told:
            plans = plans_of_file(
                target.config, inventory, target.overrides, target.optimizer or None, target.world_size
            )
        return plans, [*about_model, *told]


@contextmanager
def _recorded() -> Iterator[list[str]]:
    """Record our warnings; others are shown as before."""
    told: list[str] = []
    with warnings.catch_warnings():
        show: Any = warnings.showwarning

        def record(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, OptimBuildWarning):
                told.append(str(message))
            else:
                show(message, category, *place, **more)

        warnings.showwarning = record
        yield told


def _print(checked: Checked, as_json: bool) -> None:
    from optimbuild.lockfile.text import check_lines

    if as_json:
        print_text(json.dumps(checked.to_dict(), allow_nan=False) + "\n")
    else:
        print_lines(check_lines(checked, width=report_width()))


def _update(path: str, config: str | None, checked: Checked) -> None:
    """Write the plans into the lock file, if all could be made; what others wrote into it meanwhile stays."""
    from optimbuild.lockfile.lock_file import no_other_update, write_lock

    if checked.has_error:
        print_message("Error", f"{printable(path)} is as it was: mend what has an error, or delete its entry")
        return
    planned = [outcome.planned for outcome in checked.outcomes if outcome.planned is not None]
    with no_other_update(path):
        renewed = _locked(path, config, update=True).updated(planned)
        written = write_lock(path, renewed)
    print_message("Wrote" if written else "Unchanged", f"{printable(path)}: {counted(len(renewed.entries), 'plan')}")
