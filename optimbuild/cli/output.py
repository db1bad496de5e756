"""What the command line prints: text and tables on stdout, messages on stderr."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from optimbuild.errors import OptimBuildError, OptimBuildWarning
from optimbuild.messages import printable

if TYPE_CHECKING:
    from optimbuild.report.table import Line

NARROWEST = 40
"""The least width that is filled, in characters."""
BROKEN_PIPE = 141
"""The exit status of a program whose reader has gone."""


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001  # part of the signature of warnings.showwarning
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Write a warning of ours as a message, and any other as Python does."""
    if issubclass(category, OptimBuildWarning):
        print_message("Warning", str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def print_message(label: str, message: str) -> None:
    """Write a message to stderr, with control characters escaped."""
    sys.stdout.flush()
    sys.stderr.write("\n".join(map(printable, f"{label}: {message}".split("\n"))) + "\n")


def print_lines(lines: Iterable[Line]) -> None:
    """Write lines to stdout; with their styles if it is a terminal, unless ``NO_COLOR`` is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return print_text("".join(f"{text}\n" for text, _ in lines))
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for text, style in lines:
        console.print(Text(text, style), soft_wrap=True)
    return None


def print_text(text: str) -> None:
    """Write to stdout. If its reader has closed it, as ``head`` does, the program ends without a message."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python prints another error when it flushes stdout at its end
        if isinstance(error, BrokenPipeError):
            raise SystemExit(BROKEN_PIPE) from None
        raise OptimBuildError(f"cannot write to stdout: {error.strerror}") from None


def report_width() -> int:
    """Return the width to fill, in characters: that of the terminal, ``COLUMNS`` if it is set, or a fixed one."""
    from optimbuild.report.table import WIDTH

    return max(shutil.get_terminal_size((WIDTH, 24)).columns, NARROWEST)


def shows_unicode() -> bool:
    """Say whether stdout can show every character."""
    return "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
