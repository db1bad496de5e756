"""``optimbuild list``: rules and optimizers."""

from __future__ import annotations

from typing import Annotated

import typer

from optimbuild.cli.output import print_lines
from optimbuild.errors import ConfigError
from optimbuild.messages import shown, suggest

KINDS = ("rules", "optimizers")


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="rules|optimizers", help="By default both.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them.", show_default=False)] = None,
) -> None:
    """List rules and optimizers, or the options of one.

    What installed plugins register is listed with the package that it comes from.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            f"there is a list of {' and one of '.join(KINDS)}, not of {shown(kind)}.{suggest(kind, KINDS)}"
        )
    from optimbuild.report.registry_text import entry_lines, list_lines

    if kind is None or name is None:
        return print_lines(list_lines(KINDS if kind is None else (kind,)))
    return print_lines(entry_lines(kind, name))
