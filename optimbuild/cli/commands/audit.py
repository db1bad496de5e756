"""``optimbuild audit``: the plan of a saved optimizer, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from optimbuild.cli.arguments import DIFFERENT, SAME, Json, Overrides
from optimbuild.cli.output import print_lines, print_text, report_width
from optimbuild.cli.plans import inventory_for, plan_of_file

if TYPE_CHECKING:
    from optimbuild.auditing.audit import Audit
    from optimbuild.plan.plan import Plan

Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A file of torch, Lightning or MMEngine; a folder of Trainer, DCP, DeepSpeed or optimbuild.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="MODEL", help="The model that was trained, as for plan.", show_default=False),
]
Type = Annotated[
    str, typer.Option("--type", metavar="NAME", help="The optimizer that was saved, where its options do not tell.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Unpickle whatever the file holds: it may run any code.")]


def audit(
    checkpoint: Checkpoint,
    model: Model,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CONFIG", help="Compare with the plan of this config.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="ID", help="A finding to leave out. Repeatable.")
    ] = None,
    optimizer_type: Type = "",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Show the plan that a saved optimizer amounts to, and what is wrong with it.

    The exit status is 0; with --against it is 1 where they differ; 2 is trouble.
    """
    from optimbuild.auditing.audit import audit_of
    from optimbuild.auditing.saved import found_saved

    inventory = inventory_for(model)
    config = None if against is None else plan_of_file(against, inventory, overrides)
    found = audit_of(found_saved(checkpoint, inventory, config, optimizer=optimizer_type, trust=trust))
    found = found.ignoring(ignore or ())
    difference = None if config is None else config.diff(found.plan)
    if as_json:
        more = {} if difference is None else {"diff": difference.to_dict()}
        print_text(json.dumps({**found.to_dict(), **more}, allow_nan=False) + "\n")
    else:
        _print(found, config, (str(against), checkpoint))
    raise typer.Exit(DIFFERENT if difference else SAME)


def _print(found: Audit, config: Plan | None, titles: tuple[str, str]) -> None:
    from optimbuild.auditing.audit_text import audit_lines
    from optimbuild.report.diff_text import diff_lines

    width = report_width()
    print_lines(audit_lines(found.plan, found.findings, width=width))
    if config is not None:
        print_lines([("", ""), *diff_lines(config, found.plan, titles, width=width)])
