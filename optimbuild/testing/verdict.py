"""What the checks of the kit find, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import counted, place_raised, shown, suggest

Case = TypeVar("Case")
MAX_COMPLAINTS = 3
"""The number of complaints that are told of one check."""


@dataclass(frozen=True)
class Fault:
    """A fault that a check found.

    Args:
        check: The check's name.
        what: What is wrong, and what would be right.
    """

    check: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.what}"


@dataclass(frozen=True)
class Verdict:
    """What the checks found about one rule or optimizer.

    Args:
        subject: What was checked, such as ``rule 'no_decay'``.
        checks: The names of the checks that ran.
        faults: What they found.
    """

    subject: str
    checks: tuple[str, ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        checks = counted(len(self.checks), "check")
        if not self.faults:
            return f"{self.subject} passes {checks}"
        failed = len({fault.check for fault in self.faults})
        return "\n  ".join([f"{self.subject} fails {failed} of {checks}", *map(str, self.faults)])


def judged(
    subject: str, case: Case, checks: Sequence[Callable[[Case], Iterator[str]]], leave_out: Collection[str]
) -> Verdict:
    """Return what checks find; each yields its complaints, and is named like its function.

    Args:
        subject: What is checked, in words.
        case: What the checks get.
        checks: The checks.
        leave_out: The names of those that do not run.

    Raises:
        ConfigError: ``leave_out`` has a name that no check has.
    """
    names = [check.__name__ for check in checks]
    for name in leave_out:
        if name not in names:
            raise ConfigError(f"there is no check {shown(name)}.{suggest(name, names)} There are: {', '.join(names)}.")
    chosen = [check for check in checks if check.__name__ not in leave_out]
    faults = [Fault(check.__name__, what) for check in chosen for what in _complaints(check, case)]
    return Verdict(subject, tuple([check.__name__ for check in chosen]), tuple(faults))


def _complaints(check: Callable[[Case], Iterator[str]], case: Case) -> list[str]:
    """Return what a check complains of; what it raises is a complaint too."""
    try:
        return list(islice(check(case), MAX_COMPLAINTS))
    except OptimBuildError as error:
        return [str(error)]
    except Exception as error:  # noqa: BLE001  # the code of a plugin may raise anything
        return [f"raised {type(error).__name__}: {shown(str(error), 300)} ({place_raised(error) or 'in optimbuild'})"]
