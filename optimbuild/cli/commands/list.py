"""``optimbuild list``: rules, optimizers and published constructors."""

from __future__ import annotations

from typing import Annotated

import typer

from optimbuild.cli.output import print_lines
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown, suggest

KINDS = ("rules", "optimizers", "constructors")


def _complete_first(incomplete: str) -> list[str]:
    """Return the kinds, and all names, that begin like what was typed."""
    from optimbuild.report.registry_lookup import names_of

    names = dict.fromkeys([*KINDS, *(name for kind in KINDS for name in names_of(kind))])
    return [name for name in names if name.startswith(incomplete)]


def _complete_second(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the kind before it that begin like what was typed."""
    from optimbuild.report.registry_lookup import names_of

    kind = ctx.params.get("kind")
    return [name for name in names_of(kind) if name.startswith(incomplete)] if kind in KINDS else []


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar=f"{'|'.join(KINDS)}|NAME",
            help="By default all of them; or the name of one, or of a package such as timm or mmengine.",
            show_default=False,
            autocompletion=_complete_first,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One of them.", show_default=False, autocompletion=_complete_second),
    ] = None,
) -> None:
    """List rules, optimizers and published constructors, or the options of one.

    What installed plugins register is listed with the package that it comes from.
    """
    from optimbuild.report.registry_lookup import lines_of_entry, lines_of_kinds, lines_of_name

    if kind is None:
        return print_lines(lines_of_kinds(KINDS))
    if kind in KINDS:
        return print_lines(lines_of_kinds((kind,)) if name is None else lines_of_entry(kind, name))
    if name is None:
        return print_lines(lines_of_name(kind, KINDS))
    raise ConfigError(f"there are lists of {listing(KINDS)}, and none of {shown(kind)}.{suggest(kind, KINDS)}")
