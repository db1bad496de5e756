"""``optimbuild new-plugin`` and ``optimbuild check-plugin``."""

from __future__ import annotations

from typing import Annotated

import typer

from optimbuild.cli.arguments import DIFFERENT, SAME
from optimbuild.cli.output import print_message, print_text


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as slow-embeddings.", show_default=False)],
) -> None:
    """Write a package with a rule, an optimizer and their tests.

    It is a new folder of this name in the current directory.
    """
    from optimbuild.plugin_template import write_plugin

    for path in write_plugin(name):
        print_message("Wrote", str(path))


def check_plugin(
    package: Annotated[
        str, typer.Argument(metavar="PACKAGE", help="A module, or what was installed.", show_default=False)
    ],
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", metavar="CHECK", help="A check that does not run. Repeatable.")
    ] = None,
) -> None:
    """Check each rule and optimizer of an installed package.

    The exit status is 0 if no check finds a fault, 1 if one does, and 2 for trouble. Needs pytest.
    """
    from optimbuild.testing import verdicts_on_plugin

    faulty = False
    for verdict in verdicts_on_plugin(package, leave_out or ()):
        print_text(f"{verdict}\n")
        faulty |= bool(verdict.faults)
    raise typer.Exit(DIFFERENT if faulty else SAME)
