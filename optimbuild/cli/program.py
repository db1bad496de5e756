"""The command line: the program ``optimbuild``, its commands and its exit status.

What a command needs is imported inside it, so that ``--help`` is quick and a plan of an inventory
file never imports torch.
"""

from __future__ import annotations

import gc
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from optimbuild.cli.arguments import SAME, TROUBLE
from optimbuild.cli.commands.audit import audit, infer
from optimbuild.cli.commands.check import check
from optimbuild.cli.commands.diff import diff
from optimbuild.cli.commands.explain import explain
from optimbuild.cli.commands.inventory import inventory
from optimbuild.cli.commands.list import list_
from optimbuild.cli.commands.plan import plan
from optimbuild.cli.commands.plot import plot
from optimbuild.cli.commands.plugins import check_plugin, new_plugin
from optimbuild.cli.commands.report import report
from optimbuild.cli.commands.schema import schema
from optimbuild.cli.output import print_message, print_text, show_warning
from optimbuild.cli.usage import USAGE_ERROR, print_usage_mistake
from optimbuild.errors import OptimBuildError, OptimBuildWarning
from optimbuild.messages import printable, shown

TRACEBACK = "--traceback"
RARELY = (100_000, 20, 100)
"""When Python looks for garbage. A plan of a million tensors is a million small objects, and none of them garbage."""

app = typer.Typer(
    name="optimbuild",
    help="See, explain and check what every parameter of a model gets from an optimizer config.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(plan)
app.command()(explain)
app.command()(diff)
app.command()(check)
app.command()(report)
app.command()(audit)
app.command()(infer)
app.command()(plot)
app.command(name="list")(list_)
app.command()(inventory)
app.command()(schema)
app.command()(new_plugin)
app.command()(check_plugin)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    Args:
        arguments: The command-line arguments, without the program's name; by default those of this process.

    Returns:
        0; 1 where something differs, or a check found a fault; 2 after an error, whose message is on stderr.
    """
    for stream in (sys.stdout, sys.stderr):  # for terminals that cannot show every character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:  # the process is ours
        gc.set_threshold(*RARELY)
    given = list(sys.argv[1:] if arguments is None else arguments)
    left = [argument for argument in given if argument != TRACEBACK]  # so that it may be anywhere
    with warnings.catch_warnings():
        warnings.simplefilter("always", OptimBuildWarning)
        warnings.showwarning = show_warning
        try:
            status = app(args=left, prog_name="optimbuild", standalone_mode=False)
            return status if isinstance(status, int) else SAME
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else SAME
        except KeyboardInterrupt:
            raise
        except USAGE_ERROR as error:
            print_usage_mistake(error)
        except BaseException as error:  # noqa: BLE001  # Python would exit with 1, which means "different"
            _print_error(error, len(left) < len(given))
    return TROUBLE


def _print_error(error: BaseException, with_traceback: bool) -> None:
    """Write an error to stderr; with its traceback if that was asked for, or if the error is none of ours."""
    message = str(error)
    if not isinstance(error, OptimBuildError):
        with_traceback = True
        message = "this is a mistake in optimbuild itself; please report it with the lines above"
        if not isinstance(error, Exception):  # nothing of ours raises such a thing
            message = f"{type(error).__name__}: {shown(str(error), 300)}, raised by code that optimbuild called"
    if with_traceback:
        lines = "".join(traceback.format_exception(error)).splitlines()
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    print_message("Error", message)


def _version(asked: bool) -> None:
    if asked:
        from optimbuild import __version__

        print_text(f"optimbuild {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    traceback: Annotated[  # read by main, which takes it from any place
        bool, typer.Option(TRACEBACK, help="Print the Python traceback of an error, for authors of rules and models.")
    ] = False,
) -> None:
    pass
